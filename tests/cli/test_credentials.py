"""`feedback-guard credentials`: a rotation from the first key to the last, over a store with kept credentials."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from feedback_guard.cli.main import ExitCode, run
from feedback_guard.clock import SystemClock
from feedback_guard.keyring import Keyring, new_key
from feedback_guard.ledger.verify import verify
from feedback_guard.policy.replay import SecretSource
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store import sealed
from feedback_guard.store.database import Store
from feedback_guard.store.records import Claim
from feedback_guard.store.states import Delivery, Resolution
from tests.store.build import NOW, decide, deliver, held, insert


class Deployment:
    """A store, a file of keys, and a policy that names both."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/guard.db"
        self.keys = folder / "keys"
        self.policy = folder / "policy.yaml"
        self.policy.write_text(
            f"extends: balanced\nstore: {{url: '{self.url}'}}\ncredentials: {{keys: {{file: '{self.keys}'}}}}\n"
        )

    def use(self, *keys: str) -> Keyring:
        self.keys.write_text("\n".join(keys) + "\n")
        return Keyring.read(SecretSource(file=str(self.keys)))

    def store(self) -> Store:
        return Store.open(StorePolicy(url=self.url), clock=SystemClock())

    def claims(self) -> list[Claim]:
        with self.store() as store:
            return store.submit(
                lambda tx: tx.claim_approved("w", now_us=NOW, limit=200, application="a", routes=["feedback"])
            ).result()


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.chdir(tmp_path)
    return Deployment(tmp_path)


def keep(store: Store, ring: Keyring, *idents: str) -> None:
    for ident in idents:
        secret = ring.seal(f"of {ident}".encode(), bound_to=ident)
        insert(store, replace(held(ident), sealed=secret))
        decide(store, ident, approve=True)


def test_a_rotation_from_the_old_key_to_the_new_one(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sealed, "BATCH", 3)
    assert run(["credentials", "new-key"]) is ExitCode.CLEAN
    old, new = capsys.readouterr().out.strip(), new_key()
    idents = [f"s-{number}" for number in range(8)]
    ring = deployed.use(old)
    with deployed.store() as store:
        keep(store, ring, *idents)
    both = deployed.use(new, old)
    arguments = ["--policy", str(deployed.policy)]
    assert run(["credentials", "reencrypt", *arguments]) is ExitCode.CLEAN
    assert capsys.readouterr().out == f"8 encrypted anew with {both.newest}\n"
    assert run(["credentials", "reencrypt", *arguments]) is ExitCode.CLEAN
    assert capsys.readouterr().out.startswith("0 ")
    only = deployed.use(new)
    assert run(["credentials", "status", *arguments, "--json"]) is ExitCode.CLEAN
    assert json.loads(capsys.readouterr().out) == {"keys": [only.newest], "kept": {only.newest: 8}, "missing": []}
    for claim in deployed.claims():
        assert claim.sealed is not None
        assert only.open(claim.sealed, bound_to=claim.submission) == f"of {claim.submission}".encode()
    with deployed.store() as store:
        assert verify(store).clean
        assert sum(json.loads(entry.body)["count"] for entry in store.history("credentials")) == 8


def test_what_cannot_be_decrypted_stays_and_is_said(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    lost, old, new = new_key(), new_key(), new_key()
    with deployed.store() as store:
        keep(store, deployed.use(lost), "s-1")
        keep(store, deployed.use(old), "s-2")
    deployed.use(new, old)
    arguments = ["--policy", str(deployed.policy)]
    assert run(["credentials", "reencrypt", *arguments]) == ExitCode.FINDINGS
    told = capsys.readouterr()
    assert told.out.startswith("1 encrypted anew")
    assert told.err == "1 could not be decrypted, s-1 first\n"
    assert run(["credentials", "status", *arguments]) == ExitCode.FINDINGS
    assert "is not there, 1 kept need it" in capsys.readouterr().out


def test_credentials_are_erased_when_nothing_needs_them(deployed: Deployment) -> None:
    ring = deployed.use(new_key())
    with deployed.store() as store:
        keep(store, ring, "delivered", "failed", "denied")
        insert(store, replace(held("held"), sealed=ring.seal(b"x", bound_to="held")))
        decide(store, "denied", approve=False)
        store.submit(
            lambda tx: tx.claim_approved("w", now_us=NOW, limit=9, application="a", routes=["feedback"])
        ).result()
        deliver(store, "delivered", Delivery.DELIVERED, status=200)
        deliver(store, "failed", Delivery.FAILED, status=500)

        def left() -> list[str]:
            idents = ("delivered", "denied", "failed", "held")
            found = [store.submission(ident) for ident in idents]
            return [stored.id for stored in found if stored is not None and stored.has_credentials]

        assert left() == ["failed", "held"]
        store.submit(lambda tx: tx.resolve("failed", Resolution.GIVE_UP, moderator="mo", now_us=NOW)).result()
        decide(store, "held", approve=False)
        assert left() == []
        with store.reading() as connection:
            assert sealed.count_by_key(connection) == {}
        assert verify(store).clean


def test_without_keys_in_the_policy_there_is_nothing_to_rotate(
    tmp_path: Path, deployed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.store().close()
    deployed.policy.write_text(f"extends: balanced\nstore: {{url: '{deployed.url}'}}\n")
    assert run(["credentials", "status", "--policy", str(deployed.policy)]) is ExitCode.USAGE
    assert "has no credentials.keys" in capsys.readouterr().err
