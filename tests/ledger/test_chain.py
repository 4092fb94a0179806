from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785

from feedback_guard.errors import LedgerError
from feedback_guard.ledger.chain import GENESIS, Checkpoint, link

START = Checkpoint(0, GENESIS)


def test_the_hash_is_that_of_the_canonical_object() -> None:
    first = link(START, "note", 'a "subject"\\ \u2028\x07 ü', {"b": [1, None], "a": "\x00"}, 5)
    second = link(Checkpoint(first.seq, first.hash), "note", "x", {}, 6)
    for entry, prev in ((first, GENESIS), (second, first.hash)):
        whole = {
            "v": 1,
            "seq": entry.seq,
            "at_us": entry.at_us,
            "kind": entry.kind,
            "subject": entry.subject,
            "body": json.loads(entry.body),
            "prev": prev,
        }
        assert entry.hash == hashlib.sha256(rfc8785.dumps(whole)).hexdigest()


def test_the_format_does_not_change_by_itself() -> None:
    """A ledger written today must verify in ten years: this hash never changes."""
    entry = link(START, "judged", "c-1", {"decision": "accept", "weight_micro": 250_000}, 1_790_000_000_000_000)
    assert GENESIS == "def437d8201706d9f9855129ea27bf197473a57422b685905ceb6a527aea604a"
    assert entry.hash == "1a2d4d9e02c7c0fd5bbdc74f08f98ec855b8089ec6284d757b8434457f044043"


def test_every_part_of_an_entry_is_in_its_hash() -> None:
    base = link(START, "note", "x", {"a": 1}, 5).hash
    others = {
        link(Checkpoint(1, GENESIS), "note", "x", {"a": 1}, 5).hash,
        link(Checkpoint(0, "0" * 64), "note", "x", {"a": 1}, 5).hash,
        link(START, "note2", "x", {"a": 1}, 5).hash,
        link(START, "note", "y", {"a": 1}, 5).hash,
        link(START, "note", "x", {"a": 2}, 5).hash,
        link(START, "note", "x", {"a": 1}, 6).hash,
    }
    assert len(others - {base}) == 6


def test_a_checkpoint_reads_back() -> None:
    checkpoint = Checkpoint(7, "ab" * 32, 1_790_000_000_000_001)
    assert Checkpoint.from_json(checkpoint.to_json()) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"format":"other","seq":1,"hash":"","at_us":1}',
        '{"format":"feedback_guard/checkpoint/1","seq":1,"hash":"xyz","at_us":1}',
        '{"format":"feedback_guard/checkpoint/1","seq":-1,"hash":"' + "a" * 64 + '","at_us":1}',
        '{"format":"feedback_guard/checkpoint/1","seq":true,"hash":"' + "a" * 64 + '","at_us":1}',
        '{"format":"feedback_guard/checkpoint/1","seq":1.5,"hash":"' + "a" * 64 + '","at_us":1}',
        '{"format":"feedback_guard/checkpoint/1","seq":1,"at_us":1}',
        "[" * 100_000,
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="checkpoint"):
        Checkpoint.from_json(text)
