from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import PolicyError
from feedback_guard.policy.loader import MAX_EXTENDS, load_policy, policy_digest, presets
from feedback_guard.policy.schema import Mode, Policy
from tests.costs import cheaper_than

NAMES = "balanced, hosts/mlflow, hosts/phoenix, observe, strict"
PRESETS = f"presets {NAMES}"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def errors(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_policy(write("p.yaml", text))
    return str(caught.value).splitlines()


def test_a_file_becomes_a_policy_with_its_digest() -> None:
    loaded = load_policy(write("p.yaml", "name: mine\nmode: observe\nstore: {busy_timeout: 250ms}\n"))
    assert loaded.policy == Policy(name="mine", mode=Mode.OBSERVE, store={"busy_timeout": 250_000})
    assert loaded.digest == policy_digest(loaded.policy)
    assert loaded.files == ("p.yaml",)


WRONG = {
    "unknown key at the top": (
        "modus: observe\n",
        "p.yaml:1: modus: unknown key; did you mean 'mode'?; allowed values: extends, version, name, application,",
    ),
    "unknown key below": (
        "store:\n  hold_capacty: 4\n",
        "p.yaml:2: store.hold_capacty: unknown key; did you mean 'hold_capacity'?; allowed values: url, hold_capacity,",
    ),
    "known key in the wrong place": (
        "name: x\nfail_open: false\n",
        "p.yaml:2: fail_open: unknown key; it belongs under failure; allowed values: extends,",
    ),
    "unknown key in a list": (
        "routes:\n  - name: a\n    path: /a\n    extrct: '@'\n",
        "p.yaml:4: routes[0].extrct: unknown key; did you mean 'extract'?; allowed values: name, path, paths, methods,",
    ),
    "text for a number": (
        "store: {hold_capacity: many}\n",
        "p.yaml:1: store.hold_capacity: 'many' is not a whole number; allowed values: a whole number from 1 to 1000",
    ),
    "number in quotes": (
        "store: {hold_capacity: '5'}\n",
        "p.yaml:1: store.hold_capacity: '5' is not a whole number; allowed values: a whole number from 1 to 10000000",
    ),
    "fraction for a whole number": (
        "store: {hold_capacity: 1.5}\n",
        "p.yaml:1: store.hold_capacity: 1.5 is not a whole number; allowed values: a whole number from 1 to 10000000",
    ),
    "yes for a boolean": (
        "failure: {fail_open: yes}\n",
        "p.yaml:1: failure.fail_open: 'yes' is neither true nor false; allowed values: true or false",
    ),
    "processes in the application's": (
        "embedding:\n  isolated: false\n  processes: 2\n",
        "p.yaml:3: embedding.processes: 2 processes need `isolated: true`",
    ),
    "no process": (
        "embedding: {processes: 0}\n",
        "p.yaml:1: embedding.processes: 0 is out of bounds; allowed values: ",
    ),
    "number for a text": ("name: 7\n", "p.yaml:1: name: 7 is not a text; allowed values: a text matching ^[a-z0-9]"),
    "list for a mapping": (
        "store: [1]\n",
        "p.yaml:1: store: a list is not a mapping; allowed values: a mapping with the keys url,",
    ),
    "mapping for a list": (
        "limits: {}\n",
        "p.yaml:1: limits: a mapping is not a list; allowed values: a list of at most 64",
    ),
    "nothing for a mapping": ("store:\n", "p.yaml:1: store: null is not a mapping; allowed values: "),
    "value of an enumeration": (
        "mode: obsrve\n",
        "p.yaml:1: mode: 'obsrve' is unknown; did you mean 'observe'?; allowed values: observe, enforce",
    ),
    "value of a literal": (
        "identity:\n  missing: maybe\n",
        "p.yaml:2: identity.missing: 'maybe' is unknown; allowed values: refuse, anonymous",
    ),
    "version of the format": ("version: 2\n", "p.yaml:1: version: 2 is unknown; allowed values: 1"),
    "out of bounds": (
        "signals: {false_hold_rate: 0.9}\n",
        "p.yaml:1: signals.false_hold_rate: 0.9 is out of bounds; allowed values: a number above 0, at most 0.5",
    ),
    "missing key": (
        "name: x\nlimits:\n  - name: a\n    facet: contributor\n    measure: count\n",
        "p.yaml:3: limits[0].amount: is missing; allowed values: a number above 0, at most 1000000000",
    ),
    "duration without a unit": (
        "staging: {mature_after: 3600}\n",
        'p.yaml:1: staging.mature_after: a duration is a number with ms, s, m, h or d, such as "30s"',
    ),
    "duration with another unit": (
        "staging: {mature_after: 2w}\n",
        'p.yaml:1: staging.mature_after: a duration is a number with ms, s, m, h or d, such as "30s"',
    ),
    "duration too long": (
        "staging: {mature_after: 4000d}\n",
        "p.yaml:1: staging.mature_after: '4000d' is out of bounds; allowed values: a number with ms, s, m, h or d,",
    ),
    "a name twice": (
        "name: x\nroutes:\n- {name: a, path: /a}\n- {name: a, path: /b}\n",
        "p.yaml:2: routes: the name 'a' stands twice",
    ),
    "a moderator twice": (
        "review:\n  moderators:\n  - &A\n  - &A\n".replace("&A", f"{{name: a, token_sha256: {'a' * 64}}}"),
        "p.yaml:2: review.moderators: the name 'a' stands twice",
    ),
    "shares beyond 1": (
        "name: x\nsignals: {novelty: {share: 0.9}}\n",
        "p.yaml:2: signals: the shares of the signals add up to 1.75; at most 1 keeps the false-hold rate true",
    ),
    "an expression": (
        "routes:\n- name: a\n  path: /a\n  extract: 'a['\n",
        "p.yaml:4: routes[0].extract: not a JMESPath expression: Incomplete expression",
    ),
    "a network": (
        "identity:\n  header: {header: X-User, hops: [10.0.0.0/33]}\n",
        "p.yaml:2: identity.header.hops: '10.0.0.0/33' is neither an address nor a network",
    ),
    "a group's name": (
        "identity:\n  groups:\n    Big Team: {header: X-Team, hops: [unix]}\n",
        "p.yaml:3: identity.groups.Big Team: a name of its own, but should match pattern",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_named_with_file_line_key_and_allowed_values(text: str, expected: str) -> None:
    (line,) = errors(text)
    assert line.startswith(expected)


def test_all_mistakes_are_listed_in_the_order_of_the_file() -> None:
    lines = errors("mode: x\nname: a\nname: b\nstor: {}\nstore:\n  url: 5\n  queue_size: !!int 4\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["p.yaml:1", "mode"],
        ["p.yaml:3", "name"],
        ["p.yaml:4", "stor"],
        ["p.yaml:6", "store.url"],
        ["p.yaml:7", "store.queue_size"],
    ]


def test_a_secret_is_not_repeated() -> None:
    assert "hunter2" not in "\n".join(errors("store: {url: [postgresql://u:hunter2@h/d]}\nmode: x\n"))
    lines = errors("review: {moderators: [{name: a, token_sha256: hunter2}]}\n")
    assert "hunter2" not in lines[0]


def test_long_values_are_cut() -> None:
    assert len(errors(f"mode: {'x' * 5_000}\n")[0]) < 200


def test_texts_that_look_like_booleans_are_texts() -> None:
    assert load_policy(write("p.yaml", "name: no\nroutes: [{name: on, path: /off}]\n")).policy.name == "no"


class TestFilesThatAreNone:
    def refused(self, source: str | Path, *expected: str) -> None:
        with cheaper_than(1.0), pytest.raises(PolicyError) as caught:
            load_policy(source)
        for words in (str(source), *expected):
            assert words in str(caught.value)

    def test_missing(self) -> None:
        self.refused("nowhere.yaml", ":1: there is no such file", PRESETS)
        self.refused("balancd", "there is no such file")

    def test_directory(self) -> None:
        Path("folder.yaml").mkdir()
        self.refused("folder.yaml", "is not a file")

    def test_device(self) -> None:
        self.refused(Path("/dev/zero"), "is not a file")

    def test_empty(self) -> None:
        self.refused(write("p.yaml", ""), "the file is empty")

    def test_huge(self) -> None:
        self.refused(write("p.yaml", "#" * (settings.MAX_POLICY_BYTES + 1)), "larger than 262144 bytes")
        at_the_bound = "name: x\n#" + "x" * (settings.MAX_POLICY_BYTES - 9)
        assert load_policy(write("p.yaml", at_the_bound)).policy.name == "x"

    def test_binary(self) -> None:
        Path("p.yaml").write_bytes(b"name: x\nmode: \xff\xfe\x00")
        self.refused("p.yaml", ":2: is not a text in UTF-8")
        Path("p.yaml").write_bytes(b"name: x\x00\x01\x02\n")
        self.refused("p.yaml", "not YAML")

    def test_unreadable(self) -> None:
        assert load_policy(write("p.yaml", "name: x")).policy.name == "x"
        Path("p.yaml").chmod(0)
        user = os.geteuid()
        if user == 0:  # root reads everything, so for a moment be nobody
            os.seteuid(65_534)
        try:
            self.refused("p.yaml", "cannot be read: Permission denied")
        finally:
            os.seteuid(user)

    def test_nul_in_the_name(self) -> None:
        self.refused("a\x00b.yaml", "there is no such file")

    def test_bomb(self) -> None:
        bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [*{b},*{b},*{b}]\n" for b, n in ("ab", "bc", "cd"))
        self.refused(write("p.yaml", bomb), "p.yaml:1: a: anchors (&) and aliases (*) are refused")

    def test_code(self) -> None:
        self.refused(
            write("p.yaml", "name: !!python/object/apply:os.system ['touch owned']\n"),
            "p.yaml:1: name: tags such as !!python/object/apply:os.system are refused",
        )
        assert not Path("owned").exists()


def test_a_byte_order_mark_is_no_mistake() -> None:
    Path("p.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert load_policy("p.yaml").policy.name == "x"


class TestExtends:
    def test_mappings_merge_lists_are_replaced(self) -> None:
        write("base.yaml", "store: {hold_capacity: 5, queue_size: 6}\nroutes: [{name: a, path: /a}]\nname: base\n")
        write("sub/p.yaml", "extends: ../base.yaml\nstore: {queue_size: 7}\nroutes: [{name: b, path: /b}]\n")
        loaded = load_policy("sub/p.yaml")
        assert (loaded.policy.store.hold_capacity, loaded.policy.store.queue_size) == (5, 7)
        assert [route.name for route in loaded.policy.routes] == ["b"]
        assert loaded.policy.name == "base"
        assert loaded.files == ("sub/p.yaml", "sub/../base.yaml")

    def test_a_preset_by_name(self) -> None:
        loaded = load_policy(write("p.yaml", "extends: strict\nname: mine\n"))
        assert loaded.policy == load_policy("strict").policy.model_copy(update={"name": "mine"})

    def test_mistakes_are_placed_in_the_file_that_has_them(self) -> None:
        write("base.yaml", "name: base\n\nstore:\n  hold_capacity: many\n  queue_size: 3\n")
        lines = errors("extends: base.yaml\nstore:\n  queue_size: few\n  x: 1\n")
        assert [line.split(": ")[:2] for line in lines] == [
            ["base.yaml:4", "store.hold_capacity"],
            ["p.yaml:3", "store.queue_size"],
            ["p.yaml:4", "store.x"],
        ]

    def test_circles(self) -> None:
        write("a.yaml", "extends: b.yaml\n")
        write("b.yaml", "name: b\nextends: a.yaml\n")
        with pytest.raises(PolicyError, match=r"b\.yaml:2: extends: a circle: a\.yaml extends b\.yaml extends a\.yaml"):
            load_policy("a.yaml")
        with pytest.raises(PolicyError, match="a circle"):
            load_policy(write("c.yaml", "extends: ./c.yaml\n"))

    def test_depth(self) -> None:
        for level in range(MAX_EXTENDS):
            write(f"{level}.yaml", f"extends: {level + 1}.yaml\n")
        write(f"{MAX_EXTENDS}.yaml", "name: deep\n")
        with pytest.raises(PolicyError, match=rf"{MAX_EXTENDS - 1}\.yaml:1: extends: more than 8 files"):
            load_policy("0.yaml")
        assert load_policy("1.yaml").policy.name == "deep"

    def test_neither_preset_nor_file(self) -> None:
        (line,) = errors("name: x\nextends: balance\n")
        assert line == (
            "p.yaml:2: extends: 'balance' is neither a preset nor a file;"
            f" presets: {NAMES}; files are looked for beside p.yaml"
        )

    @pytest.mark.parametrize("base", ["[balanced]", "{a: 1}", "7", "null", ""])
    def test_not_a_name(self, base: str) -> None:
        (line,) = errors(f"extends: {base}\n")
        assert line.startswith(f"p.yaml:1: extends: names one preset ({NAMES}) or one policy file")

    def test_only_at_the_top(self) -> None:
        (line,) = errors("store: {extends: balanced}\n")
        assert line.startswith("p.yaml:1: store.extends: unknown key")


class TestDigest:
    def test_wording_does_not_matter(self) -> None:
        one = load_policy(
            write("a.yaml", "mode: enforce\nstaging: {mature_after: 24h}\nsignals: {false_hold_rate: 0.01}")
        )
        other = load_policy(write("b.yaml", "# same\nsignals:\n  false_hold_rate: 1e-2\nstaging: {mature_after: 1d}\n"))
        assert one.digest == other.digest == policy_digest(Policy())

    def test_every_decision_matters(self) -> None:
        texts = ["", "\nmode: observe", "\nsignals: {false_hold_rate: 0.011}", "\nstaging: {mature_after: 1ms}"]
        digests = {load_policy(write("p.yaml", f"name: x{text}\n")).digest for text in texts}
        assert len(digests) == len(texts)

    def test_it_is_stable(self) -> None:
        # Verdicts name this digest for ever: a change of the schema that moves it must be meant.
        assert policy_digest(Policy()) == "sha256:4136c97db21d8b772be19eb404b670080f7e9dcc4ba9c9c416f5e99db7a0a616"


def test_presets_are_loaded_as_they_are_meant() -> None:
    balanced, strict, observe = (load_policy(name).policy for name in ("balanced", "strict", "observe"))
    assert sorted(presets()) == ["balanced", "hosts/mlflow", "hosts/phoenix", "observe", "strict"]
    assert (balanced.mode, strict.mode, observe.mode) == (Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE)
    assert (balanced.signals.false_hold_rate, strict.signals.false_hold_rate) == (0.005, 0.03)
    assert (balanced.signals.unknown_label, strict.signals.unknown_label) == ("accept", "quarantine")
    assert observe.limits == balanced.limits
    rates = {
        limit.name: (limit.facet, limit.measure, limit.amount, limit.per, limit.burst) for limit in balanced.limits
    }
    hour, day = 3_600 * MICROSECONDS, 86_400 * MICROSECONDS
    assert rates == {
        "contributor-rate": ("contributor", "count", 120, hour, 40),
        "contributor-day": ("contributor", "weight", 15, day, 15),
        "contributor-lifetime": ("contributor", "weight", 150, None, None),
        "network-rate": ("group:network", "count", 2000, hour, 500),
        "anonymous-day": ("anonymous", "weight", 20, day, None),
        "phrase-lifetime": ("phrase", "count", 50, None, None),
        "family-week": ("family", "count", 50, 7 * day, None),
        "radius-week": ("radius", "count", 50, 7 * day, None),
    }
    for limit in strict.limits:
        if limit.name in rates:
            assert limit.amount < rates[limit.name][2]
    assert not any(policy.failure.fail_open for policy in (balanced, strict, observe))


def test_presets_explain_every_key() -> None:
    for name, file in presets().items():
        if name.startswith("hosts/"):
            continue  # these map another application's requests; tests/hosts says what each route does
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        for before, line in itertools.pairwise(lines):
            opens_section = line.endswith(":")
            plain = line.startswith(("version:", "name:", "extends:"))
            assert not line or line.startswith("#") or opens_section or plain or before.startswith("#"), (
                f"{name}: {line}"
            )
