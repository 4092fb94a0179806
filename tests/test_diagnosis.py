"""`doctor` finds what is unsound, and says what to do about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from feedback_guard import engine
from feedback_guard.clock import ManualClock
from feedback_guard.diagnosis import Health, diagnose
from feedback_guard.embedding import loading
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.engine import start_batcher
from feedback_guard.keyring import Keyring, new_key
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.policy.loader import LoadedPolicy, load_policy
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store
from feedback_guard.store.sqlite import assert_sqlite_version
from tests.guards import START_US, make_policy
from tests.store.build import NOW, decide, held, insert
from tests.store.voter import cast

BASIC = """\
name: test
mode: observe
store: {{url: "sqlite:///{folder}/guard.db"}}
embedding: {{backend: unsafe-hashing-for-tests}}
"""


def found(loaded: LoadedPolicy, us: int = START_US, *, with_model: bool = True) -> dict[tuple[str, Health], str]:
    return {(d.check, d.health): d.message for d in diagnose(loaded, ManualClock(us), with_model=with_model)}


def policy(folder: Path, more: str = "") -> LoadedPolicy:
    file = folder / "policy.yaml"
    file.write_text(BASIC.format(folder=folder) + more)
    return load_policy(file)


def test_a_sound_deployment_has_no_failure(tmp_path: Path) -> None:
    make_policy(tmp_path)
    got = found(policy(tmp_path, f"baseline: {{path: {tmp_path}/baseline}}\n"))
    assert not [key for key in got if key[1] is Health.FAILURE]
    assert {check for check, _ in got} == set(
        "policy clock sqlite store credentials receipts metrics baseline model".split()
    )


def test_a_baseline_of_another_model_an_altered_one_and_a_missing_one_are_failures(tmp_path: Path) -> None:
    make_policy(tmp_path)
    line = f"baseline: {{path: {tmp_path}/baseline}}\n"
    manifest = tmp_path / "baseline" / "baseline.json"
    manifest.write_text(manifest.read_text().replace('"n_trusted"', '"n_trusted "'))
    assert ("baseline", Health.FAILURE) in found(policy(tmp_path, line), with_model=False)
    assert ("baseline", Health.FAILURE) in found(policy(tmp_path, "baseline: {path: nowhere}\n"), with_model=False)


def test_a_store_that_cannot_be_is_a_failure_that_names_the_folder(tmp_path: Path) -> None:
    loaded = policy(tmp_path)
    gone = loaded.policy.model_copy(
        update={"store": loaded.policy.store.model_copy(update={"url": f"sqlite:///{tmp_path}/none/guard.db"})}
    )
    got = found(dataclasses.replace(loaded, policy=gone), with_model=False)
    assert "none does not exist" in got["store", Health.FAILURE]


def test_looking_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would belong to whoever looked, and the guard perhaps could not write it."""
    monkeypatch.setenv("FG_TEST_KEYS", new_key())
    keys = "credentials: {keys: {env: FG_TEST_KEYS}}\nreceipts: {keys: {env: FG_TEST_KEYS}}\n"
    loaded = policy(tmp_path, keys + "routes: [{name: r, path: /r, extract: '@', receipt: {audience: chat}}]\n")
    before = sorted(tmp_path.iterdir())
    got = found(loaded, with_model=False)
    assert "the guard makes it when it starts" in got["store", Health.OK]
    assert "will be encrypted" in got["credentials", Health.OK]
    assert sorted(tmp_path.iterdir()) == before


def test_a_clock_that_is_not_set_is_a_failure_and_one_behind_the_record_a_warning(tmp_path: Path) -> None:
    loaded = policy(tmp_path)
    with Store.open(loaded.policy.store, clock=ManualClock(START_US)) as store:
        store.submit(lambda tx: tx.append("note", "x", {}, START_US + 3_600_000_000)).result()
    assert "3600 s in the future" in found(loaded, with_model=False)["store", Health.WARNING]
    assert ("clock", Health.FAILURE) in found(loaded, 0, with_model=False)


ROUTES = "routes: [{name: feedback, path: /f, extract: '@'}]\n"


def keep(loaded: LoadedPolicy, *kept: tuple[str, str | None, str, bool]) -> None:
    with Store.open(loaded.policy.store, clock=ManualClock(START_US)) as store:
        for ident, application, route, approved in kept:
            insert(store, dataclasses.replace(held(ident), application=application, route=route))
            if approved:
                decide(store, ident, approve=True)


def test_what_waits_under_another_name_of_the_application_is_a_warning(tmp_path: Path) -> None:
    loaded = policy(tmp_path, ROUTES)
    keep(loaded, ("s-1", "shop", "feedback", True), ("s-2", "test", "feedback", True), ("s-3", None, "feedback", True))
    message = found(loaded, NOW, with_model=False)["store", Health.WARNING]
    assert message.startswith("1 approved request waits for the application 'shop', and this is 'test'")
    assert "application: shop" in message
    named = policy(tmp_path, ROUTES + "application: shop\n")
    assert "'test', and this is 'shop'" in found(named, NOW, with_model=False)["store", Health.WARNING]


def test_what_is_held_under_a_name_that_was_changed_is_a_warning_before_it_is_approved(tmp_path: Path) -> None:
    loaded = policy(tmp_path, ROUTES)
    keep(loaded, ("s-1", "shop", "feedback", False))
    assert (
        "1 held request is for the application 'shop'" in found(loaded, NOW, with_model=False)["store", Health.WARNING]
    )
    # Beside requests of this application those of another are nothing unusual: both share the store.
    keep(loaded, ("s-2", "test", "feedback", False))
    got = found(loaded, NOW, with_model=False)
    assert ("store", Health.WARNING) not in got
    assert "1 held request is for the application 'shop'" in got["store", Health.OK]


def test_what_is_kept_for_a_route_that_was_renamed_is_a_warning(tmp_path: Path) -> None:
    loaded = policy(tmp_path, ROUTES)
    keep(loaded, ("s-1", "test", "feedback", True), ("s-2", "test", "old", False), ("s-3", None, "old", False))
    message = found(loaded, NOW, with_model=False)["store", Health.WARNING]
    assert message == (
        "2 held requests are for the route 'old', which the policy does not have any more, so the application never "
        "gets them; give a route this name"
    )


def test_a_metrics_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    assert "none" in found(policy(tmp_path), with_model=False)["metrics", Health.FAILURE]


def test_doubtful_settings_are_warnings(tmp_path: Path) -> None:
    got = found(policy(tmp_path, "failure: {fail_open: true}\n"), with_model=False)
    assert ("policy", Health.WARNING) in got


def test_a_key_or_a_credential_that_is_missing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    route = "{name: r, path: /r, extract: '@', credentials: service, service: {env: FG_TEST_TOKEN}}"
    service = policy(tmp_path, f"routes: [{route}]\n")
    monkeypatch.delenv("FG_TEST_TOKEN", raising=False)
    assert "FG_TEST_TOKEN is not set" in found(service, with_model=False)["credentials", Health.FAILURE]
    monkeypatch.setenv("FG_TEST_TOKEN", "Bearer x")
    assert found(service, with_model=False)["credentials", Health.OK] == "clients' credentials are not kept"
    old, new = Keyring([bytes(32)]), new_key()
    monkeypatch.setenv("FG_TEST_KEYS", new)
    keeping = policy(tmp_path, "credentials: {keys: {env: FG_TEST_KEYS}}\n")
    with Store.open(keeping.policy.store, clock=ManualClock(START_US)) as store:
        insert(store, dataclasses.replace(held("s-1"), sealed=old.seal(b"x", bound_to="s-1")))
    got = found(keeping, with_model=False)
    assert f"1 kept need the key {old.newest}" in got["credentials", Health.FAILURE]


@pytest.mark.parametrize("version", [(3, 51, 2), (3, 40, 1), (3, 50, 6), (3, 44, 5)])
def test_a_sqlite_with_the_wal_reset_bug_is_refused(version: tuple[int, int, int]) -> None:
    from feedback_guard.errors import UnsafeDatabaseError

    with pytest.raises(UnsafeDatabaseError):
        assert_sqlite_version(version)


@pytest.mark.parametrize(
    ("embedding", "processor", "told"),
    [
        ("backend: torch", True, True),
        ("backend: torch", False, False),
        ("backend: torch, precision: bfloat16", True, False),
        ("backend: onnx", True, False),
    ],
)
def test_a_faster_precision_is_named_where_there_is_one(
    embedding: str, processor: bool, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashing(_: EmbeddingPolicy) -> Batcher:
        return start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING))

    monkeypatch.setattr(engine, "start_batcher", hashing)
    monkeypatch.setattr(loading, "computes_bfloat16", lambda: processor)
    file = tmp_path / "policy.yaml"
    file.write_text(BASIC.format(folder=tmp_path).replace("backend: unsafe-hashing-for-tests", embedding))
    messages = [d.message for d in diagnose(load_policy(file), ManualClock(START_US)) if d.check == "model"]
    assert messages[0].startswith("loads and embeds")
    assert any("`embedding.precision: bfloat16` would take" in message for message in messages) is told


def test_the_default_policy_is_valid() -> None:
    assert Policy().mode.value == "enforce"


def test_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = "receipts: {keys: {env: RECEIPT_KEYS}}\n"
    route = "routes: [{name: r, path: /r, extract: '@', receipt: {audience: chat}}]\n"
    monkeypatch.setenv("RECEIPT_KEYS", "no key")
    assert "key 1 is not" in found(policy(tmp_path, keys), with_model=False)["receipts", Health.FAILURE]
    monkeypatch.setenv("RECEIPT_KEYS", f"{new_key()},{new_key()}")
    got = found(policy(tmp_path, keys), with_model=False)
    assert "2 are believed" in got["receipts", Health.OK]
    assert "no route asks" in got["receipts", Health.WARNING]
    loaded = policy(tmp_path, keys + route)
    got = found(loaded, with_model=False)
    assert ("receipts", Health.WARNING) not in got
    with Store.open(loaded.policy.store, clock=ManualClock(START_US)) as store:
        cast(store, "s", 0, replaces=False)
    at_us = NOW - 31_000_000
    assert "was signed 31 s from now" in found(loaded, at_us, with_model=False)["receipts", Health.FAILURE]
    assert ("receipts", Health.FAILURE) not in found(loaded, NOW - 30_000_000, with_model=False)
    elsewhere = "receipts: {keys: {env: RECEIPT_KEYS}, serving: [{name: a, path: /a, output: t}]}\n"
    assert (
        "audience is default"
        in found(policy(tmp_path, elsewhere + route), with_model=False)["receipts", Health.WARNING]
    )
