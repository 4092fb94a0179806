"""The chain: each entry carries the hash of the one before it, so none can be changed, taken out or moved unseen.

The hash of an entry is the SHA-256 of this canonical JSON object, in which `body` stands as it is stored::

    {"at_us":…,"body":{…},"kind":"…","prev":"…","seq":…,"subject":"…","v":1}

What a chain cannot show by itself is that its end was cut off, or that all of it was written anew. For that, keep
a `Checkpoint` somewhere the database's owner cannot write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final, NamedTuple, Self

from pydantic import JsonValue

from feedback_guard.clock import format_iso8601
from feedback_guard.errors import LedgerError
from feedback_guard.ledger.canonical import canonical_text, check_scalars

GENESIS: Final = hashlib.sha256(b"feedback_guard/ledger/1").hexdigest()
"""What stands before the first entry."""
MAX_BODY_BYTES: Final = 64 * 1024
"""Largest body of an entry, in bytes of canonical JSON."""
MAX_SUBJECT_CHARS: Final = 512
"""Longest subject of an entry, in code points."""
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """One entry, as it is stored.

    Parameters
    ----------
    seq
        Position, from 1, without gaps.
    at_us
        When it was written, microseconds since the epoch. Order is by `seq`; clocks may jump.
    kind
        What happened.
    subject
        What it happened to: a contribution, a submission, or whatever the kind is about.
    body
        The particulars, as canonical JSON.
    prev_hash, hash
        Of the entry before, and of this one.
    """

    seq: int
    at_us: int
    kind: str
    subject: str
    body: str
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of a ledger at some moment. A ledger that no longer leads there was cut off or written anew.

    Parameters
    ----------
    seq
        Number of entries; 0 for an empty ledger.
    hash
        Hash of the last of them; `GENESIS` for an empty ledger.
    at_us
        When the checkpoint was taken, microseconds since the epoch.
    """

    seq: int
    hash: str
    at_us: int = 0

    def to_json(self) -> str:
        """The checkpoint as one line of JSON.

        Examples
        --------
        >>> Checkpoint(0, GENESIS, 0).to_json()[:58]
        '{"at":"1970-01-01T00:00:00+00:00","at_us":0,"format":"feed'
        """
        return canonical_text(
            {
                "format": "feedback_guard/checkpoint/1",
                "seq": self.seq,
                "hash": self.hash,
                "at_us": self.at_us,
                "at": format_iso8601(self.at_us),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        LedgerError
            If it is not a checkpoint.
        """
        try:
            value = json.loads(text)
            if value["format"] != "feedback_guard/checkpoint/1":
                raise LedgerError(f"not a checkpoint of a known format: {value['format']!r}")
            seq, hash_, at_us = value["seq"], value["hash"], value["at_us"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LedgerError(f"not a checkpoint: {type(error).__name__}: {error}") from None
        numbers = type(seq) is int and type(at_us) is int and seq >= 0
        if not numbers or not isinstance(hash_, str) or not _HASH.fullmatch(hash_):
            raise LedgerError("not a checkpoint: seq and at_us are whole numbers, hash is 64 hexadecimal digits")
        return cls(seq, hash_, at_us)


def entry_hash(seq: int, at_us: int, kind: str, subject: str, body: str, prev_hash: str) -> str:
    """The hash of an entry whose body is already canonical JSON, in hexadecimal.

    The names of the object are in canonical order, so the body can be put in as it stands.
    """
    text = (
        f'{{"at_us":{at_us},"body":{body},"kind":{_quote(kind)},"prev":{_quote(prev_hash)},'
        f'"seq":{seq},"subject":{_quote(subject)},"v":1}}'
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def link(prev: Checkpoint, kind: str, subject: str, body: Mapping[str, JsonValue], at_us: int) -> Entry:
    """Make the entry that follows `prev`.

    Raises
    ------
    LedgerError
        If the kind, the subject or the body is not what a record may hold.

    Examples
    --------
    >>> first = link(Checkpoint(0, GENESIS), "started", "guard", {"version": 1}, 0)
    >>> first.seq, first.prev_hash == GENESIS
    (1, True)
    """
    return link_text(prev, kind, subject, canonical_text(body), at_us)


def link_text(prev: Checkpoint, kind: str, subject: str, body: str, at_us: int) -> Entry:
    """Make the entry that follows `prev`, from a body that is canonical JSON already.

    Raises
    ------
    LedgerError
        If the kind, the subject, the time or the size of the body is not what a record may hold.
    """
    if not _KIND.fullmatch(kind):
        raise LedgerError(f"the kind of an entry is a lower-case word of at most 64 characters, not {kind!r}")
    if not subject or len(subject) > MAX_SUBJECT_CHARS:
        raise LedgerError(f"the subject of an entry has 1..{MAX_SUBJECT_CHARS} characters, not {len(subject)}")
    check_scalars(subject, at_us)
    if len(body) > MAX_BODY_BYTES or len(body.encode()) > MAX_BODY_BYTES:
        raise LedgerError(f"the body of an entry has at most {MAX_BODY_BYTES} bytes; store the rest and its digest")
    seq = prev.seq + 1
    return Entry(seq, at_us, kind, subject, body, prev.hash, entry_hash(seq, at_us, kind, subject, body, prev.hash))


_quote: Final = encode_basestring
"""A text as JSON writes it, with everything but quotes and control characters as it is."""
