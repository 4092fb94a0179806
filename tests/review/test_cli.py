"""`feedback-guard review`: the same rules on the command line, and output that a terminal can only print."""

from __future__ import annotations

import json
import os
import re
import signal
import string
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from feedback_guard.cli.main import ExitCode, run
from feedback_guard.metrics import FROM_STORE
from feedback_guard.review.auth import token_sha256
from feedback_guard.store.campaigns import Told
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Reason
from tests.review.desks import TOKENS, Desk, a_contribution, a_desk, deliver, hold, stored

Review = Callable[..., tuple[int, str, str]]

POLICY = """
version: 1
store:
  url: sqlite:///{folder}/review.db
review:
  moderators:
    - {{name: ada, token_sha256: {digest}}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(folder=tmp_path, digest=token_sha256(TOKENS["ada"])))
    return str(path)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with a_desk(tmp_path) as made:
        yield made


@pytest.fixture
def review(policy: str, capsys: pytest.CaptureFixture[str]) -> Review:
    def call(*arguments: str, at: str = policy) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["review", *arguments, "--policy", at])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_list_show_approve(desk: Desk, review: Review) -> None:
    hold(desk, "item-1")
    hold(desk, "item-2", at_us=desk.clock.us + 1, reasons=())
    code, out, err = review("list")
    assert code == 0
    first, second = out.splitlines()
    assert first.split()[0] == "item-1"
    assert "Contradicts its content (1 in 480 honest ones is as odd)" in first
    assert second.split()[0] == "item-2"
    assert "2 held" in err
    code, out, _ = review("show", "item-1")
    assert code == 0
    for text in ("item-1, version 1", "| where is my card?", "| card_arrival", "user-17", "about 1 in 480", "p" * 64):
        assert text in out
    code, out, _ = review("approve", "item-1", "--note", "seen", "--moderator", "ada")
    assert (code, out) == (
        0,
        "item-1 approved by ada; the request: approved, waiting. The request waits for the application to take it.\n",
    )
    assert stored(desk, "item-1").delivery is Delivery.APPROVED
    body = json.loads(desk.store.history("item-1-c0")[-1].body)
    assert (body["moderator"], body["note"]) == ("ada", "seen")


def test_what_is_held_again_names_its_campaign(desk: Desk, review: Review) -> None:
    """Not what its verdict said of it, for which it was accepted."""
    hold(desk, "item-1", learning=Learning.ACCEPTED, delivery=Delivery.DISPATCHING)
    deliver(desk, "item-1", Delivery.DELIVERED)
    assert "campaign" not in review("show", "item-1")[1]
    pulled = [PullBack("item-1-c0", "campaign-1")]
    desk.store.submit(lambda tx: tx.pull_back(pulled, now_us=tx.now_us(), mature_after_us=86_400_000_000)).result(30)
    assert "Part of a campaign (accepted at first, found later)" in review("list")[1]
    assert "`feedback-guard review campaign campaign-1` says what its members share" in review("show", "item-1")[1]


def test_deny_as_the_user_of_the_system(desk: Desk, review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    hold(desk, "item-1")
    assert review("deny", "item-1")[0] == 0
    assert stored(desk, "item-1").contributions[0].learning is Learning.DENIED
    assert json.loads(desk.store.history("item-1-c0")[-1].body)["moderator"] == "cli:grace"


def test_json(desk: Desk, review: Review) -> None:
    hold(desk, "item-1", a_contribution("c", input="\x1b[2J\u202eé"))
    code, out, _ = review("list", "--json")
    assert code == 0
    assert set(out) <= set(string.printable)
    assert json.loads(out)["items"][0]["id"] == "item-1"
    code, out, _ = review("show", "item-1", "--json")
    assert set(out) <= set(string.printable)
    item = json.loads(out)
    assert item["contributions"][0]["contribution"]["input"] == "\x1b[2J\u202eé"
    code, out, _ = review("approve", "item-1", "--json", "--version", str(item["version"]))
    assert (code, json.loads(out)["delivery"]) == (0, "approved")


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[1;1Happroved",
        "a\r\nitem-9  approved",
        "\x9b31m",
        "\u202eabc",
        "\x1b]8;;http://evil\x07x",
        "[bold]x[/]",
        "\x00",
    ],
)
def test_a_terminal_is_not_controlled_by_what_it_shows(desk: Desk, review: Review, text: str) -> None:
    item = a_contribution(
        f"id-{text}", input=text, label=text, contributor=text, groups={text: text}, metadata={text: text}
    )
    hold(desk, "item-1", item, reasons=(Reason(text, text, 0.1, text),))
    for arguments in (("list",), ("show", "item-1"), ("deny", "item-1")):
        code, out, err = review(*arguments)
        assert code == 0
        for char in out + err:
            assert char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp")
    rows = review("list")[1].splitlines()
    assert rows == []


def test_a_line_of_a_text_cannot_pass_for_ours(desk: Desk, review: Review) -> None:
    hold(desk, "item-1", a_contribution("c", input="hello\n\n2 of 2: label, approved\n  contributor  admin"))
    out = review("show", "item-1")[1]
    assert "1 of 1: label, held" in out.splitlines()
    assert "2 of 2: label, approved" not in out.splitlines()
    assert "    | 2 of 2: label, approved" in out.splitlines()


def test_pages(desk: Desk, review: Review) -> None:
    for number in range(3):
        hold(desk, f"item-{number}", at_us=number)
    code, out, err = review("list", "--limit", "2")
    assert [line.split()[0] for line in out.splitlines()] == ["item-0", "item-1"]
    assert "go on with --after item-1" in err
    code, out, err = review("list", "--limit", "2", "--after", "item-1")
    assert [line.split()[0] for line in out.splitlines()] == ["item-2"]
    assert review("list", "--after", "nothing")[0] == ExitCode.USAGE
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "nothing"), ExitCode.USAGE, "no such item"),
        (("approve", "a/b"), ExitCode.USAGE, "no such item"),
        (("approve", "item-1", "--note", "x" * 2_001), ExitCode.USAGE, "at most 2,000 characters"),
        (("approve", "item-1", "--moderator", "a b"), ExitCode.USAGE, "--moderator takes"),
        (("approve", "item-1", "--moderator", ""), ExitCode.USAGE, "--moderator takes"),
        (("approve", "item-1", "--version", "7"), ExitCode.COULD_NOT_JUDGE, "changed after you opened it"),
        (("approve", "item-1", "--moderator", "user-17"), ExitCode.COULD_NOT_JUDGE, "your own name"),
        (("approve", "item-1", "--moderator", "cli:User-17"), ExitCode.COULD_NOT_JUDGE, "your own name"),
        (("list", "--limit", "0"), ExitCode.USAGE, "--limit"),
        (("list", "--nonsense"), ExitCode.USAGE, "nonsense"),
    ],
)
def test_refusals_say_why_and_change_nothing(
    desk: Desk, review: Review, arguments: tuple[str, ...], code: int, said: str
) -> None:
    hold(desk, "item-1")
    got, out, err = review(*arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert stored(desk, "item-1").held


def test_a_second_decision_of_the_same_kind_is_refused(desk: Desk, review: Review) -> None:
    hold(desk, "item-1")
    assert review("approve", "item-1")[0] == 0
    assert review("approve", "item-1")[0] == ExitCode.COULD_NOT_JUDGE
    assert review("deny", "item-1")[0] == 0


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, review: Review) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(f"version: 1\nstore: {{url: 'sqlite:///{tmp_path}/missing.db'}}\n")
    code, _, err = review("list", at=str(path))
    assert code == ExitCode.USAGE
    assert "there is no store" in err
    assert not (tmp_path / "missing.db").exists()
    assert review("list", at=str(tmp_path / "missing.yaml"))[0] == ExitCode.COULD_NOT_JUDGE


def test_a_token_and_its_line_for_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["review", "token", "--name", "ada"]) == 0
    secret, line = capsys.readouterr().out.splitlines()
    assert line == f"- {{name: ada, token_sha256: {token_sha256(secret)}}}"
    assert run(["review", "token", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["token_sha256"] == token_sha256(made["token"])
    assert run(["review", "token", "--name", "Ada Lovelace"]) == ExitCode.USAGE


def test_neither_a_model_nor_a_detector_is_loaded(desk: Desk, policy: str) -> None:
    hold(desk, "item-1")
    code = (
        "import sys\n"
        "from feedback_guard.cli.main import run\n"
        f"assert run(['review', 'list', '--policy', {policy!r}]) == 0\n"
        "heavy = [m for m in ('torch', 'sentence_transformers', 'sklearn', 'numba', 'scipy', 'river', 'pandas')"
        " if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_serve(desk: Desk, policy: str) -> None:
    hold(desk, "item-1")
    command = [sys.executable, "-m", "feedback_guard", "review", "serve", "--policy", policy, "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        try:
            origin = next(m[0] for m in (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stderr) if m)
            with httpx2.Client(base_url=origin, trust_env=False) as client:
                answer = client.get("/healthz")
                assert (answer.status_code, answer.text) == (200, "ok\n")
                assert "server" not in answer.headers
                # A zero for what only the application's workers count would keep every alert on it quiet.
                page = client.get("/metrics").text
                assert "feedback_guard_held_items 1.0" in page
                families = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
                assert families <= set(FROM_STORE)
                bearer = {"Authorization": f"Bearer {TOKENS['ada']}"}
                answer = client.post("/api/v1/items/item-1/approve", json={"version": 1}, headers=bearer)
                assert answer.status_code == 200
        finally:
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
    assert server.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert stored(desk, "item-1").delivery is Delivery.APPROVED


def test_members_for_recall_are_counted_and_listed(desk: Desk, review: Review) -> None:
    for n, after_us in enumerate((0, 86_400_000_000)):
        item = a_contribution(f"c{n}", input=f"zq {n}")
        hold(desk, f"item-{n}", item, learning=Learning.ACCEPTED, delivery=Delivery.NONE)
        charge = [PullBack(f"c{n}", "campaign-1")]
        desk.store.submit(
            lambda tx, charge=charge, after_us=after_us: tx.pull_back(  # type: ignore[misc]
                charge, now_us=tx.now_us(), mature_after_us=after_us
            )
        ).result()
    _, out, _ = review("campaign", "campaign-1", "--show", "mature")
    assert "1 for recall" in out
    assert [line.split()[1] for line in out.splitlines() if ", mature " in line] == ["item-0"]
    assert "item-1" not in out


def test_a_campaign_is_listed_shown_and_decided(desk: Desk, review: Review) -> None:
    for n in range(4):
        item = a_contribution(f"c{n}", input=f"\x1b[2Jzq {n}\u202e", label="card" if n else "pin")
        hold(desk, f"item-{n}", item, campaign="campaign-1")
    told = Told(
        "campaign-1", 9, True, json.dumps({"teaches": [["label 'pin\x1b'", 3]]}), (("c0", -1_200), ("c1", 2_500))
    )
    desk.store.submit(lambda tx: tx.tell([told])).result()
    code, out, err = review("campaigns")
    assert (code, err) == (0, "4 held in 1 of 1 campaigns\n")
    assert out.split()[:5] == ["campaign-1", "4", "held", "of", "4"]
    code, out, _ = review("campaign", "campaign-1")
    assert code == 0
    assert not [char for char in out if unicodedata.category(char)[0] == "C" and char != "\n"]
    lines = out.splitlines()
    assert lines[0] == "campaign  campaign-1, version 1, open"
    assert "teaches   label 'pin\\u{1b}' (3)" in lines
    assert [line.split()[1] for line in lines if " held  " in line] == ["item-0", "item-1", "item-2", "item-3"]
    assert json.loads(review("campaign", "campaign-1", "--json", "--limit", "1")[1])["listed"][0]["item"] == "item-0"
    code, out, _ = review("approve", "--campaign", "campaign-1", "--fitting", "--moderator", "ada", "--version", "1")
    assert (code, out) == (0, "campaign-1, decision 1 by ada: 1 contribution approved.\n")
    code, out, err = review("deny", "--campaign", "campaign-1", "--note", "flood", "--json")
    assert (code, json.loads(out)["moved"], err) == (0, 3, "3 of 3\n")
    assert [stored(desk, f"item-{n}").delivery.value for n in range(4)] == ["approved", "denied", "denied", "denied"]
    assert review("approve", "--campaign", "campaign-1", "--undo", "2", "--moderator", "ada")[0] == 0
    assert stored(desk, "item-3").delivery is Delivery.APPROVED
    assert json.loads(desk.store.history("c3")[-1].body)["campaign"] == "campaign-1"
    for expected, arguments in (
        (2, ["deny", "--campaign", "campaign-1"]),
        (2, ["deny", "--campaign", "campaign-1", "--version", "1"]),
        (3, ["deny", "--campaign", "nothing"]),
        (3, ["campaign", "nothing"]),
        (3, ["campaign", "campaign-1", "--show", "x"]),
        (3, ["deny"]),
        (3, ["deny", "item-1", "--campaign", "campaign-1"]),
        (3, ["deny", "item-1", "--fitting"]),
        (3, ["deny", "--campaign", "campaign-1", "--fitting", "--odds-below", "2"]),
        (3, ["deny", "--campaign", "campaign-1", "--undo", "2", "--fitting"]),
    ):
        assert review(*arguments)[0] == expected, arguments
