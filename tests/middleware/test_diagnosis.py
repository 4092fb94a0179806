from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.diagnosis import Health
from feedback_guard.middleware.diagnosis import diagnose_routes, diagnose_tokens
from feedback_guard.policy.schema import Policy
from tests.middleware.issuer import make_key, published


def found(**jwt: Any) -> dict[Health, str]:
    policy = Policy.model_validate({"identity": {"jwt": {"issuer": "x", "audience": ["y"]} | jwt}})
    return {diagnosis.health: diagnosis.message for diagnosis in diagnose_tokens(policy)}


def test_a_route_that_cannot_work_is_a_failure() -> None:
    def routes(expression: str) -> Policy:
        return Policy.model_validate({"routes": [{"name": "r", "path": "/r", "extract": expression}]})

    assert list(diagnose_routes(routes("{kind: 'label', input: a, label: b}"))) == []
    (found,) = diagnose_routes(routes("{kind: 'label', input: a}"))
    assert (found.health, found.message.split(":")[0]) == (Health.FAILURE, "routes")
    assert "a label needs label" in found.message


def test_a_policy_without_tokens_asks_nobody() -> None:
    assert list(diagnose_tokens(Policy())) == []


def test_the_keys_of_an_issuer_are_fetched_and_compared_with_the_algorithms(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(published(make_key("EC", "k")))
    got = found(algorithms=["ES256", "RS256"], jwks_file=str(file))
    assert got == {
        Health.OK: "keys of the issuer's that verify signatures: 1",
        Health.WARNING: "identity.jwt.algorithms: the issuer has no key for RS256; remove it",
    }
    file.write_bytes(b"<html>")
    assert "cannot be read" in found(jwks_file=str(file))[Health.FAILURE]
    file.unlink()
    assert "No such file" in found(jwks_file=str(file))[Health.FAILURE]


def test_an_issuer_that_does_not_answer_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/jwks"
    assert "cannot be asked: ConnectionRefusedError" in found(jwks_url=url)[Health.FAILURE]
    file = tmp_path / "policy.yaml"
    file.write_text(f"identity: {{jwt: {{issuer: x, audience: [y], jwks_url: '{url}'}}}}\nmode: observe\n")
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["doctor", "--policy", str(file), "--no-load-model"]) == 1
    said = capsys.readouterr().out
    assert "tokens" in said
    assert "ConnectionRefusedError" in said
