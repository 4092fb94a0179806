"""Is a snapshot the one that was recorded? Its files are held against the store and the ledger."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import Any

from feedback_guard.learning.manifest import MANIFEST
from feedback_guard.learning.snapshot_verify import SnapshotReport
from feedback_guard.ledger.canonical import canonical_text
from feedback_guard.policy.loader import LoadedPolicy
from feedback_guard.policy.snapshot import ShareCap
from feedback_guard.store import snapshots
from feedback_guard.store.database import Store


def verify_record(store: Store, policy: LoadedPolicy, report: SnapshotReport) -> None:
    """Add findings where a verified snapshot is not what the store and the ledger say.

    Parameters
    ----------
    store
        Where it should be recorded. The ledger itself is verified by `feedback-guard ledger verify`.
    policy
        Its caps are compared if the snapshot was cut by it.
    report
        Of the files; findings are added to it.
    """
    manifest = report.manifest
    ident, text = str(manifest["id"]), canonical_text(manifest)
    with store.reading() as connection:
        found = snapshots.find(connection, ident)
        digest = hashlib.sha256()
        if found is not None:
            for _, seq, weight in snapshots.members(connection, ident):
                digest.update(b"%d %d\n" % (seq, weight))
    entries = [entry for entry in store.history(ident) if entry.kind == snapshots.KIND]
    if found is None or not entries:
        report.found(f"the snapshot {ident} is not recorded in this store")
    else:
        if found.manifest != text:
            report.found(f"{MANIFEST}: the store recorded another manifest for {ident}")
        if digest.hexdigest() != manifest["members_sha256"]:
            report.found(f"the store lists other members of {ident} than its rows")
        body = json.loads(entries[-1].body)
        if body["manifest_sha256"] != hashlib.sha256(text.encode()).hexdigest():
            report.found(f"{MANIFEST}: entry {entries[-1].seq} of the ledger names another digest of it")
        if body["members_sha256"] != manifest["members_sha256"]:
            report.found(f"entry {entries[-1].seq} of the ledger names other members")
    if manifest["policy"] == policy.digest:
        _compare_caps(policy.policy.snapshot.caps, manifest["caps"], report)


def _compare_caps(caps: tuple[ShareCap, ...], said: list[dict[str, Any]], report: SnapshotReport) -> None:
    by_facet = {cap["facet"]: cap for cap in said}
    if by_facet.keys() != {cap.facet for cap in caps}:
        report.found("the manifest has caps on other facets than the policy that it names")
        return
    for cap in caps:
        told = by_facet[cap.facet]
        share = None if told["max_share"] is None else Fraction(told["max_share"])
        wanted = None if cap.max_share is None else Fraction(repr(cap.max_share))
        weight = None if told["max_weight_micro"] is None else Fraction(told["max_weight_micro"], 1_000_000)
        most = None if cap.max_weight is None else Fraction(repr(cap.max_weight))
        loose = (weight is None) != (most is None) or (weight is not None and most is not None and weight > most)
        if share != wanted or told["max_count"] != cap.max_count or loose:
            report.found(f"cap {cap.facet}: the manifest has another bound than the policy that it names")
