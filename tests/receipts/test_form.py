"""Receipts as bytes and as text: one text for each receipt, and nothing is believed that was not signed."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import random
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard import settings as bounds
from feedback_guard.clock import MICROSECONDS, ManualClock
from feedback_guard.errors import CredentialError, ReceiptError, Refused, UsageError
from feedback_guard.policy.receipts import ReceiptsPolicy
from feedback_guard.receipts.form import Binding, Receipt, TextDigest, pack, text_digest, unpack
from feedback_guard.receipts.keys import ReceiptKeys
from feedback_guard.receipts.signer import ReceiptSigner
from feedback_guard.receipts.verifier import Verifier

NOW = 1_772_000_000 * MICROSECONDS
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KEYS = ReceiptKeys([OLD])
_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def sign(keys: ReceiptKeys = KEYS, at_us: int = NOW, **changes: Any) -> str:
    parts: dict[str, Any] = {"interaction": "i-1", "contributor": "ada", "output": "a card", "model": "m-1"}
    return ReceiptSigner(keys, lifetime_us=MICROSECONDS * 60, clock=ManualClock(at_us)).sign(**parts | changes)


def refused(text: str, keys: ReceiptKeys = KEYS, **changes: Any) -> Refused | None:
    parts: dict[str, Any] = {"contributor": "ada", "audience": "default", "now_us": NOW}
    try:
        Verifier(keys, leeway_us=0).check(text, **parts | changes)
    except ReceiptError as error:
        return error.reason
    return None


def signed_anew(text: str, key_index: int = 0, **changes: Any) -> str:
    """What somebody who has a key could make of a receipt."""
    receipt = dataclasses.replace(unpack(text)[0], **changes)
    return pack(receipt, KEYS.newest.mac(receipt.canonical()))


def test_what_was_signed_is_read_again() -> None:
    receipt = Verifier(KEYS, leeway_us=0).check(sign(), contributor="ada", audience="default", now_us=NOW)
    assert (receipt.interaction, receipt.model, receipt.binding) == ("i-1", "m-1", Binding.DIGEST)
    assert receipt.output == text_digest("a card")
    assert b"ada" not in base64.urlsafe_b64decode(sign().split(".")[1] + "==")


def test_every_altered_character_is_refused() -> None:
    text = sign()
    rng = random.Random(5)
    alphabet = string.ascii_letters + string.digits + "-_."
    for place in range(len(text)):
        other = rng.choice([sign_ for sign_ in alphabet if sign_ != text[place]])
        assert refused(text[:place] + other + text[place + 1 :]) is not None, place
    for cut in range(len(text)):
        assert refused(text[:cut]) is not None, cut
    for more in ("A", "=", ".", " ", "\n", "AAAA"):
        assert refused(text + more) is Refused.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"audience": "other"}, id="audience"),
        pytest.param({"interaction": "i-2"}, id="interaction"),
        pytest.param({"contributor": bytes(32)}, id="contributor"),
        pytest.param({"model": "m-2"}, id="model"),
        pytest.param({"output": bytes(32)}, id="output"),
        pytest.param({"input": bytes(32)}, id="input"),
        pytest.param({"issued_us": NOW - 1}, id="issued"),
        pytest.param({"expires_us": NOW + 10**9}, id="expires"),
        pytest.param({"binding": Binding.NONE, "output": b""}, id="binding"),
    ],
)
def test_every_field_is_signed(change: dict[str, Any]) -> None:
    receipt, mac = unpack(sign())
    assert refused(pack(dataclasses.replace(receipt, **change), mac)) is Refused.FORGED


def test_the_key_is_signed_too() -> None:
    """Under its own MAC no receipt can claim another key; under any MAC the bytes differ."""
    keys = ReceiptKeys([NEW, OLD])
    receipt, mac = unpack(sign())
    other = dataclasses.replace(receipt, key_id=keys.newest.ident)
    assert refused(pack(other, mac), keys) is Refused.FORGED
    assert other.canonical() != receipt.canonical()


def test_a_mac_is_compared_whole() -> None:
    receipt, mac = unpack(sign())
    for place in range(len(mac)):
        wrong = mac[:place] + bytes([mac[place] ^ 1]) + mac[place + 1 :]
        assert refused(pack(receipt, wrong)) is Refused.FORGED, place
    assert refused(pack(receipt, hmac.digest(OLD, receipt.canonical(), "sha256"))) is Refused.FORGED


def test_time() -> None:
    text = sign()
    last = NOW + 60 * MICROSECONDS
    assert refused(text, now_us=last - 1) is None
    assert refused(text, now_us=last) is Refused.EXPIRED
    assert refused(text, now_us=NOW - 1) is Refused.EARLY
    check = Verifier(KEYS, leeway_us=10).check
    assert check(text, contributor="ada", audience="default", now_us=NOW - 10).issued_us == NOW
    assert check(text, contributor="ada", audience="default", now_us=last + 9).issued_us == NOW


def test_another_contributor_another_audience_another_key() -> None:
    assert refused(sign(), contributor="eve") is Refused.OTHER_CONTRIBUTOR
    assert refused(sign(), audience="corrections") is Refused.OTHER_AUDIENCE
    assert refused(sign(), ReceiptKeys([NEW])) is Refused.UNKNOWN_KEY


def test_keys_are_changed_without_refusing_anybody() -> None:
    """The new key at the end, then first, then alone when the old receipts are over."""
    before, learned, switched, after = (ReceiptKeys(ring) for ring in ([OLD], [OLD, NEW], [NEW, OLD], [NEW]))
    for signing, believing in ((before, learned), (learned, before), (learned, switched), (switched, learned)):
        assert refused(sign(signing), believing) is None
    assert refused(sign(switched), after) is None
    assert refused(sign(learned), after) is Refused.UNKNOWN_KEY
    assert refused(sign(switched), before) is Refused.UNKNOWN_KEY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("1.", id="prefix"),
        pytest.param("2." + sign()[2:], id="another version"),
        pytest.param("1." + "A" * bounds.MAX_RECEIPT_CHARS, id="too long"),
        pytest.param(sign().replace(".", "..", 1), id="two dots"),
        pytest.param("1." + "é" * 20 + "." + "A" * 43, id="not ascii"),
        pytest.param(sign() + "=", id="padding"),
    ],
)
def test_what_is_no_receipt(text: str) -> None:
    assert refused(text) is Refused.MALFORMED


def test_lengths_that_lie_are_refused() -> None:
    receipt, mac = unpack(sign())
    data = receipt.canonical()
    form = len(b"feedback_guard/receipt/1")
    for lie in (0, 15, 17, 2**31, 2**32 - 1):
        forged = data[:form] + lie.to_bytes(4, "big") + data[form + 4 :]
        text = ".".join(["1", *(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (forged, mac))])
        assert refused(text) is Refused.MALFORMED
    for strange in (b"\x03", b"\x00\x01", b""):
        at = data.index(b"\x00\x00\x00\x01\x01")
        forged = data[:at] + len(strange).to_bytes(4, "big") + strange + data[at + 5 :]
        text = ".".join(["1", *(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (forged, mac))])
        assert refused(text) is Refused.MALFORMED


@settings(max_examples=200, deadline=None)
@given(one=st.tuples(_names, _names, _names), other=st.tuples(_names, _names, _names))
def test_two_receipts_never_have_the_same_bytes(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    def canonical(parts: tuple[str, ...]) -> bytes:
        return Receipt("0" * 16, parts[0], parts[1], bytes(32), parts[2], Binding.NONE, b"", b"", 1, 2).canonical()

    assert (canonical(one) == canonical(other)) is (one == other)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab\r\n"), max_size=12), data=st.data())
def test_a_digest_in_pieces_is_that_of_the_whole(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    digest = TextDigest()
    for piece in pieces:
        digest.update(piece)
    assert digest.digest() == text_digest(text) == text_digest(text.replace("\r\n", "\n").replace("\r", "\n"))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda b: "1." + base64.urlsafe_b64encode(b).decode()))
def test_nothing_but_a_receipt_error_comes_of_garbage(text: str) -> None:
    assert refused(text) is not None


def test_the_largest_receipt_fits() -> None:
    text = sign(interaction="\U0001f600" * 256, model="\U0001f600" * 256, audience="a" * 64, input="x")
    assert len(text) <= bounds.MAX_RECEIPT_CHARS
    assert refused(text, audience="a" * 64) is None


def test_what_cannot_be_signed() -> None:
    for wrong in (
        {"interaction": ""},
        {"contributor": "x" * 257},
        {"model": "\ud800"},
        {"output": b"short"},
        {"output": "a card", "recorded": True},
        {"audience": "é"},
    ):
        with pytest.raises(UsageError):
            sign(**wrong)
    with pytest.raises(UsageError, match="366 days"):
        ReceiptSigner(KEYS, lifetime_us=0)
    with pytest.raises(CredentialError, match="at least one key"):
        ReceiptKeys([])
    with pytest.raises(CredentialError, match="stands twice"):
        ReceiptKeys([OLD, OLD])


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join(base64.b64encode(key).decode() for key in (NEW, OLD))
    monkeypatch.setenv("RECEIPT_KEYS", lines)
    policy = ReceiptsPolicy.model_validate({"keys": {"env": "RECEIPT_KEYS"}})
    assert policy.keys is not None
    assert ReceiptKeys.read(policy.keys).ids == (ReceiptKeys([NEW]).newest.ident, KEYS.newest.ident)
    monkeypatch.setenv("RECEIPT_KEYS", "c2hvcnQ=")
    with pytest.raises(CredentialError, match=r"receipts\.keys: key 1 is not 32 bytes"):
        ReceiptKeys.read(policy.keys)
