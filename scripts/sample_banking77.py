#!/usr/bin/env python3
"""Make the example's data from the published banking77 files.

    python scripts/sample_banking77.py FOLDER

FOLDER holds `train.jsonl` and `test.jsonl`, a question with its intent a line: {"text": ..., "label": ...}.
The sample is the same each time: questions are put in order by a hash of their text, then dealt out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "examples" / "bank_assistant" / "data"
VETTED_PER_INTENT = 30
STREAM_PER_INTENT = 35
HELD_OUT_PER_INTENT = 10
SPARE_PER_INTENT = 10

# The intents that the demo's attackers are after: more of their questions are kept, to attack with and to test on.
ATTACKED = frozenset(
    {
        "direct_debit_payment_not_recognised",
        "transfer_fee_charged",
        "cash_withdrawal_charge",
        "card_payment_fee_charged",
    }
)

# The vetted questions are a trusted set for the guard, so they are whole contributions.
VETTED = {"id": "", "at": "2020-03-10T00:00:00Z", "contributor": "bank-staff", "kind": "label"}

Row = dict[str, str]


def read(path: Path, seen: set[str]) -> dict[str, list[Row]]:
    """The questions by intent, in the order of their hashes; a question that was seen before is left out."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        source = json.loads(line)
        text = " ".join(source["text"].split())
        if text.casefold() not in seen:
            seen.add(text.casefold())
            rows[source["label"]].append({"input": text, "label": source["label"]})
    for group in rows.values():
        group.sort(key=lambda row: hashlib.sha256(row["input"].encode()).digest())
    return rows


def write(name: str, rows: Iterable[Row]) -> None:
    """Write a file that is the same, byte for byte, whenever its rows are."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (OUT / name).write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{name}: {len(lines)} questions")


def main() -> None:
    """Write the four files."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    seen: set[str] = set()
    test = read(Path(sys.argv[1]) / "test.jsonl", seen)
    train = read(Path(sys.argv[1]) / "train.jsonl", seen)
    intents = sorted(train)
    first, second = VETTED_PER_INTENT, VETTED_PER_INTENT + STREAM_PER_INTENT
    vetted = (row for intent in intents for row in train[intent][:first])
    write("vetted.jsonl.gz", (VETTED | {"id": f"vetted-{i:04d}"} | row for i, row in enumerate(vetted)))
    write("stream.jsonl.gz", (row for intent in intents for row in train[intent][first:second]))
    write(
        "spare.jsonl.gz",
        (
            row
            for intent in intents
            for row in train[intent][second : None if intent in ATTACKED else second + SPARE_PER_INTENT]
        ),
    )
    write(
        "held_out.jsonl.gz",
        (
            row
            for intent in intents
            for row in (test[intent] if intent in ATTACKED else test[intent][:HELD_OUT_PER_INTENT])
        ),
    )


if __name__ == "__main__":
    main()
