"""An upstream that speaks TLS: its certificate is checked against what the operator trusts, for the name he wrote."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from feedback_guard.errors import UsageError
from feedback_guard.gateway.app import Passage, gateway_app
from feedback_guard.store.states import Delivery
from tests.gateway.serving import Gateway
from tests.gateway.upstreams import Upstream
from tests.middleware.fakes import FEEDBACK, FakeGuard


def certificate(folder: Path, address: str) -> Path:
    """A certificate that signs itself, with its key, for one address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "upstream.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return file


def speaking_tls(upstream: Upstream, file: Path) -> Upstream:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    upstream.wrap = lambda connection: context.wrap_socket(connection, server_side=True)
    return upstream


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_upstream_with_the_right_certificate_is_used(loop: Any, tmp_path: Path) -> None:
    file = certificate(tmp_path, "127.0.0.1")
    with (
        speaking_tls(Upstream(), file) as upstream,
        Gateway(upstream.url.replace("http:", "https:"), upstream_ca=str(file), loop=loop) as gateway,
    ):
        assert gateway.post("/feedback", FEEDBACK).status == 200
        assert gateway.guard.settled().delivery is Delivery.DELIVERED
        assert [gateway.post("/x", b"", method="GET").status for _ in range(3)] == [200] * 3
        assert len(upstream.raw) == 1, "connections are kept here too"


@pytest.mark.parametrize("why", ["another name", "nobody vouches for it"])
def test_an_upstream_with_another_certificate_gets_nothing(why: str, tmp_path: Path) -> None:
    file = certificate(tmp_path, "127.0.0.1" if why == "nobody vouches for it" else "192.0.2.1")
    trusted = str(file) if why == "another name" else None
    with (
        speaking_tls(Upstream(), file) as upstream,
        Gateway(upstream.url.replace("http:", "https:"), upstream_ca=trusted) as gateway,
    ):
        assert gateway.post("/feedback", FEEDBACK).status == 502
        assert gateway.guard.settled().delivery is Delivery.FAILED
        assert upstream.seen == []


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UsageError, match="has no certificates"):
        gateway_app(FakeGuard(), Passage("https://app", upstream_ca=str(tmp_path / "ca.pem")))
