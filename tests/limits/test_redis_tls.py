"""Redis over TLS, against a real server: one whose certificate does not check is neither asked nor told."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.checks import lifetime
from feedback_guard.limits.diagnosis import diagnose_redis
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import UNIT, Charge
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.schema import Policy
from tests.patience import wait_until
from tests.ports import free_port
from tests.redis import Server, running, section

NOW = 1_790_000_000_000_000
ONCE = lifetime(1, name="once")
CHARGE = Charge(ONCE, "alice", UNIT)
FULL = {budget_key(ONCE, "alice"): Level(UNIT, 0, 0, NOW)}

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_key")]


def certify(folder: Path, name: str, *, address: str = "127.0.0.1", days: int = 2) -> Path:
    """Write a certificate that signs itself, `NAME.pem`, and its key, `NAME.key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return path


@dataclass(frozen=True)
class Secure:
    """A server that speaks TLS on a port of its own."""

    server: Server
    port: int
    folder: Path

    def policy(self, **options: object) -> RedisPolicy:
        url = f"rediss://127.0.0.1:{self.port}/0"
        return RedisPolicy.model_validate(section(self.server, **({"url": url, "pause": "60s"} | options)))

    def present(self, certificate: Path) -> None:
        """Have the server show another certificate from now on."""
        with self.server.client as client:
            client.config_set("tls-cert-file", str(certificate), "tls-key-file", str(certificate.with_suffix(".key")))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("certificates")
    good = certify(folder, "good")
    port = free_port()
    arguments = ["--tls-port", str(port), "--tls-cert-file", str(good), "--tls-key-file", str(good.with_suffix(".key"))]
    with running(*arguments, "--tls-ca-cert-file", str(good), "--tls-auth-clients", "no") as server:
        yield Secure(server, port, folder)


def known(policy: RedisPolicy) -> tuple[bool, list[str]]:
    """Whether what was noted is found, and how the lookups ended."""
    outcomes: list[str] = []
    front = SharedLevels(policy, "here", on_outcome=outcomes.append)
    try:
        front.note(FULL)
        front.flush(20)
        answers = [front.peek_now([CHARGE], NOW) for _ in range(5)]
        return answers[-1] is not None, outcomes
    finally:
        front.close()


def test_a_certificate_that_the_policy_names_is_trusted(secure: Secure) -> None:
    # A lookup may take a second, as policies have it: a machine that stood still for one is given another chance.
    wait_until(lambda: known(secure.policy(ca_file=str(secure.folder / "good.pem"))) == (True, ["refused"] * 5))


def refused(secure: Secure, **options: object) -> None:
    with secure.server.client as client:
        client.flushall()
        found, outcomes = known(secure.policy(**options))
        assert not found, "a lookup refused, or the store was not asked"
        assert set(outcomes) <= {"failed", "skipped"}
        assert outcomes[-1] == "skipped"
        assert client.dbsize() == 0, "copies were written to a server that was not checked"


def test_one_that_nobody_vouches_for_is_not(secure: Secure) -> None:
    refused(secure)
    refused(secure, ca_file=str(certify(secure.folder, "other")))


def test_one_for_another_host_is_not(secure: Secure) -> None:
    elsewhere = certify(secure.folder, "elsewhere", address="127.0.0.99")
    secure.present(elsewhere)
    try:
        refused(secure, ca_file=str(elsewhere))
    finally:
        secure.present(secure.folder / "good.pem")


def test_one_that_has_expired_is_not(secure: Secure) -> None:
    late = certify(secure.folder, "late", days=-1)
    secure.present(late)
    try:
        refused(secure, ca_file=str(late))
    finally:
        secure.present(secure.folder / "good.pem")


def test_plain_text_to_a_port_that_speaks_tls_fails_and_does_not_hang(secure: Secure) -> None:
    refused(secure, url=f"redis://127.0.0.1:{secure.port}/0")


def test_doctor_says_whether_the_certificate_checks(secure: Secure) -> None:
    def said(**options: object) -> tuple[str, str]:
        policy = Policy(redis=secure.policy(**options))
        (found,) = diagnose_redis(policy)
        return found.health.value, found.message

    assert said(ca_file=str(secure.folder / "good.pem"))[0] == "ok"
    assert said()[0] == "failure"
