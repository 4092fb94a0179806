"""The form of a receipt: canonical bytes, and the text that travels.

The signed bytes begin with the name and the version of the form; every field stands behind its length, so no two
receipts have the same bytes, whatever their fields hold. The text is `1.BYTES.MAC` in base64 for URLs, without padding,
and there is one such text for each receipt: a text that decodes to the same bytes in another spelling is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from feedback_guard import settings
from feedback_guard.errors import ReceiptError, Refused

FORM: Final = b"feedback_guard/receipt/1"
"""Name and version of the signed bytes."""
MAC_BYTES: Final = 32
"""HMAC-SHA256, whole."""
DIGEST_BYTES: Final = 32
_PREFIX: Final = "1."
_LENGTH_BYTES: Final = 4
_TIME_BYTES: Final = 8
_N_FIELDS: Final = 10
_OUTPUT: Final = b"feedback_guard/served/1\0"


class Binding(IntEnum):
    """How a receipt says what was served."""

    NONE = 0
    """It does not: it is good for whatever the interaction is said to have been."""
    DIGEST = 1
    """By a digest in the receipt."""
    RECORDED = 2
    """By a digest that stands in the store: the answer was streamed, and its end was not known at its beginning."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was served to whom.

    Parameters
    ----------
    key_id
        The key that signed it, 16 hexadecimal digits.
    audience
        For whose feedback it is good; a route takes its own only.
    interaction
        Identifier of the served output.
    contributor
        Keyed digest of whom it was served to, 32 bytes. The name itself does not travel.
    model
        Name of the model that served; empty if it is not said.
    binding
        How it says what was served.
    output
        Digest of the served text, 32 bytes; empty unless the binding is `DIGEST`.
    input
        Digest of the text that it answers, 32 bytes; empty if it is not said.
    issued_us, expires_us
        From when until when it is good, microseconds since the epoch.
    """

    key_id: str
    audience: str
    interaction: str
    contributor: bytes
    model: str
    binding: Binding
    output: bytes
    input: bytes
    issued_us: int
    expires_us: int

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        fields = (
            self.key_id.encode("ascii"),
            self.audience.encode("utf-8"),
            self.interaction.encode("utf-8"),
            self.contributor,
            self.model.encode("utf-8"),
            bytes([self.binding]),
            self.output,
            self.input,
            self.issued_us.to_bytes(_TIME_BYTES, "big"),
            self.expires_us.to_bytes(_TIME_BYTES, "big"),
        )
        return FORM + b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)


def text_digest(text: str) -> bytes:
    r"""Digest of a served text, 32 bytes. Ends of lines count as `\n`: forms in a browser make `\r\n` of them.

    Examples
    --------
    >>> text_digest("one\r\ntwo") == text_digest("one\ntwo"), text_digest("one") == text_digest("One")
    (True, False)
    """
    return TextDigest().update(text).digest()


class TextDigest:
    r"""The digest of a served text that comes in pieces.

    Examples
    --------
    >>> TextDigest().update("a card\r").update("\nand more").digest() == text_digest("a card\nand more")
    True
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256(_OUTPUT)
        self._return = False

    def update(self, piece: str) -> TextDigest:
        """Add a piece; returns itself."""
        if not piece:
            return self
        if self._return and piece.startswith("\n"):
            piece = piece[1:]
        self._return = piece.endswith("\r")
        piece = piece.replace("\r\n", "\n").replace("\r", "\n")
        self._sha256.update(piece.encode("utf-8", "surrogatepass"))
        return self

    def digest(self) -> bytes:
        """32 bytes, of all pieces so far."""
        return self._sha256.digest()


def pack(receipt: Receipt, mac: bytes) -> str:
    """Write a signed receipt as the text that travels."""
    return f"{_PREFIX}{_encode(receipt.canonical())}.{_encode(mac)}"


def unpack(text: str) -> tuple[Receipt, bytes]:
    """Read a text; nothing of it is to be believed before its MAC was checked.

    Returns
    -------
    Receipt and bytes
        What it says, and its MAC.

    Raises
    ------
    ReceiptError
        `MALFORMED`, if it is no receipt of this version, or a longer one than there can be.
    """
    if len(text) > settings.MAX_RECEIPT_CHARS or not text.startswith(_PREFIX):
        raise ReceiptError(Refused.MALFORMED)
    body, dot, mac_text = text.removeprefix(_PREFIX).partition(".")
    data, mac = _decode(body), _decode(mac_text)
    if not dot or len(mac) != MAC_BYTES or not data.startswith(FORM):
        raise ReceiptError(Refused.MALFORMED)
    fields = _fields(data[len(FORM) :])
    try:
        receipt = Receipt(
            key_id=fields[0].decode("ascii"),
            audience=fields[1].decode("utf-8"),
            interaction=fields[2].decode("utf-8"),
            contributor=fields[3],
            model=fields[4].decode("utf-8"),
            binding=Binding(int.from_bytes(fields[5], "big")),
            output=fields[6],
            input=fields[7],
            issued_us=int.from_bytes(fields[8], "big"),
            expires_us=int.from_bytes(fields[9], "big"),
        )
        same = receipt.canonical() == data
    except (UnicodeDecodeError, ValueError, OverflowError):
        raise ReceiptError(Refused.MALFORMED) from None
    sound = (
        same
        and len(receipt.contributor) == DIGEST_BYTES
        and len(receipt.output) == (DIGEST_BYTES if receipt.binding is Binding.DIGEST else 0)
        and len(receipt.input) in {0, DIGEST_BYTES}
    )
    if not sound:
        raise ReceiptError(Refused.MALFORMED)
    return receipt, mac


def _fields(data: bytes) -> list[bytes]:
    fields: list[bytes] = []
    position = 0
    while position < len(data) and len(fields) < _N_FIELDS:
        start = position + _LENGTH_BYTES
        length = int.from_bytes(data[position:start], "big")
        position = start + length
        fields.append(data[start:position])
    if position != len(data) or len(fields) != _N_FIELDS:
        raise ReceiptError(Refused.MALFORMED)
    return fields


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    """Decode base64 for URLs without padding, in its one spelling; empty if it is not that."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _encode(data) == text else b""
