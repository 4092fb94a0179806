"""Stores with contributions of many people, and snapshots cut from them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.learning.cut import create
from feedback_guard.learning.manifest import JSONL, MANIFEST, named
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.writing import Cut
from feedback_guard.ledger.canonical import canonical_json, canonical_text
from feedback_guard.policy.loader import policy_digest
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store
from feedback_guard.store.records import Judged, NewSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict
from tests.store.build import DECISIONS, NOW

DAY = 86_400_000_000
LATER = NOW + 30 * DAY
KEY = Partitions(7, b"a key of this test")
CAPS: list[dict[str, Any]] = [{"facet": "contributor", "max_share": 0.05, "max_weight": 25}]


def one(
    ident: str,
    who: str = "alice",
    *,
    weight: float = 1.0,
    learning: Learning = Learning.ACCEPTED,
    groups: dict[str, str] | None = None,
    at_us: int = NOW,
    delivery: Delivery = Delivery.NONE,
    anonymous: bool = False,
) -> NewSubmission:
    """A submission with one contribution."""
    decision = DECISIONS[learning]
    item = Contribution(ident, at_us, who, Kind.LABEL, f"the text of {ident} \u202e é", label="x", groups=groups or {})
    verdict = Verdict(ident, decision, weight if decision is Decision.ACCEPT else 0.0, 0.1, (), "sha256:p", None)
    return NewSubmission(
        f"s-{ident}", "feedback", at_us, delivery, (Judged(item, verdict, learning),), anonymous=anonymous
    )


def many(n: int, people: int, *, seed: int = 1, networks: int = 0) -> list[NewSubmission]:
    """Contributions of people of whom some send much more than others."""
    rng = random.Random(seed)
    out = []
    for number in range(n):
        who = min(people - 1, int(people * rng.random() ** 2))
        groups = {"network": f"net-{who % networks}"} if networks and who % 5 else {}
        out.append(one(f"c{number}", f"u{who}", weight=rng.choice([1.0, 1.0, 0.7, 0.123_457]), groups=groups))
    return out


def put(store: Store, *new: NewSubmission) -> None:
    """Record submissions in their order."""
    for item in new:
        store.submit(lambda tx, item=item: tx.insert(item))  # type: ignore[misc]
    store.submit(lambda tx: None).result()


def policy(**snapshot: Any) -> Policy:
    """A policy whose snapshots have these settings; nothing waits for a count by default."""
    return Policy.model_validate({"snapshot": {"mature_after_count": 0, "caps": CAPS, **snapshot}})


def cut(
    store: Store,
    out: Path,
    rules: Policy | None = None,
    *,
    as_of_us: int = LATER,
    now_us: int = LATER,
    partitions: Partitions | None = None,
    parquet: bool = True,
    on_progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Cut a snapshot a month after everything came."""
    rules = rules or policy()
    how = Cut(rules, policy_digest(rules), None, as_of_us, parquet, partitions)
    return create(store, how, out, now_us=now_us, on_progress=on_progress)


def rows(directory: Path) -> list[dict[str, Any]]:
    """The lines of a snapshot."""
    return [json.loads(line) for line in (directory / JSONL).read_text(encoding="utf-8").splitlines()]


def held_by(directory: Path) -> list[str]:
    """The contributions of a snapshot."""
    return [row["contribution"]["id"] for row in rows(directory)]


def rewrite(
    directory: Path,
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list,
    also: Callable[[dict[str, Any]], None] = lambda _manifest: None,
) -> None:
    """Change a snapshot as somebody would who can write everything: sums, digests and name fit afterwards."""
    manifest = json.loads((directory / MANIFEST).read_text())
    changed = change(rows(directory))
    data = b"".join(canonical_json(row).encode() + b"\n" for row in changed)
    (directory / JSONL).write_bytes(data)
    (directory / "contributions.parquet").unlink(missing_ok=True)
    said = {"name": JSONL, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": len(changed)}
    manifest |= {"files": [said], "contributions": len(changed)}
    manifest["weight_micro"] = sum(row["weight_micro"] for row in changed)
    members = b"".join(b"%d %d\n" % (row["seq"], row["weight_micro"]) for row in changed)
    manifest["members_sha256"] = hashlib.sha256(members).hexdigest()
    for cap in manifest["caps"]:
        weights: dict[str, int] = {}
        for row in changed:
            item, facet = row["contribution"], cap["facet"]
            who = item["contributor"] if facet == "contributor" else item.get("groups", {}).get(facet[6:])
            if who is not None:
                weights[who] = weights.get(who, 0) + row["weight_micro"]
        cap["largest_micro"] = max(weights.values(), default=0)
    also(manifest)
    (directory / MANIFEST).write_text(canonical_text(named(manifest)) + "\n")
