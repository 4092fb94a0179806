"""What a snapshot holds, what it leaves out, and that it appears whole, once, on the record, or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from feedback_guard.errors import SnapshotError, UsageError
from feedback_guard.learning.manifest import JSONL, MANIFEST, PARQUET
from feedback_guard.learning.snapshot import Snapshot
from feedback_guard.learning.snapshot_verify import verify_snapshot
from feedback_guard.ledger.verify import verify
from feedback_guard.store import snapshots
from feedback_guard.store.campaign_reads import members
from feedback_guard.store.database import Store
from feedback_guard.store.records import NewSubmission, PullBack
from feedback_guard.store.states import Delivery, Learning
from tests.learning.cutting import CAPS, DAY, KEY, LATER, cut, held_by, many, one, policy, put, rows
from tests.patience import PATIENCE_SECONDS
from tests.store.build import CLOCK, NOW, decide
from tests.store.build import policy as store_policy

FREE = policy(caps=[])


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        pytest.param(one("x"), None, id="accepted"),
        pytest.param(one("x", weight=0.0), "without_weight", id="accepted without weight"),
        pytest.param(one("x", learning=Learning.HELD), "held", id="held"),
        pytest.param(one("x", learning=Learning.LIMITED), "limited", id="limited"),
        pytest.param(one("x", learning=Learning.REJECTED), "rejected", id="rejected"),
        pytest.param(one("x", at_us=LATER - DAY), None, id="mature to the microsecond"),
        pytest.param(one("x", at_us=LATER - DAY + 1), "too_young", id="a microsecond too young"),
        pytest.param(one("x", delivery=Delivery.DISPATCHING), "not_delivered", id="nobody knows yet what became of it"),
    ],
)
def test_what_goes_into_a_snapshot(store: Store, tmp_path: Path, new: NewSubmission, reason: str | None) -> None:
    put(store, one("other", "bob"), new)
    manifest = cut(store, tmp_path / "s", FREE)
    assert held_by(tmp_path / "s") == (["other", "x"] if reason is None else ["other"])
    assert manifest["left_out"] == ({} if reason is None else {reason: 1})


@pytest.mark.parametrize(("outcome", "taken"), [(Delivery.DELIVERED, True), (Delivery.FAILED, False)])
def test_what_the_application_refused_is_not_learnt(
    store: Store, tmp_path: Path, outcome: Delivery, taken: bool
) -> None:
    put(store, one("x", delivery=Delivery.DISPATCHING))
    store.submit(lambda tx: tx.deliver("s-x", outcome, now_us=NOW)).result()
    manifest = cut(store, tmp_path / "s", FREE)
    assert held_by(tmp_path / "s") == (["x"] if taken else [])
    assert manifest["left_out"] == ({} if taken else {"not_delivered": 1})


@pytest.mark.parametrize("after", [0, 1, 3, 4, 5])
def test_a_contribution_waits_until_enough_were_judged_after_it(store: Store, tmp_path: Path, after: int) -> None:
    put(store, one("a"), one("b"), one("c", learning=Learning.HELD), one("d"))
    manifest = cut(store, tmp_path / "s", policy(caps=[], mature_after_count=after))
    accepted = [("a", 3), ("b", 2), ("d", 0)]
    mature = [name for name, followers in accepted if followers >= after]
    assert held_by(tmp_path / "s") == mature
    assert manifest["left_out"].get("too_few_judged_after", 0) == 3 - len(mature)


def test_what_is_judged_after_the_time_asked_for_counts_for_nothing(store: Store, tmp_path: Path) -> None:
    put(store, one("a"), one("b"), one("late", at_us=LATER + 1))
    cut(store, tmp_path / "s", policy(caps=[], mature_after_count=1), as_of_us=LATER, now_us=LATER + DAY)
    assert held_by(tmp_path / "s") == ["a"]


def test_what_a_moderator_approved_matures_from_then_on_and_counts_whole(store: Store, tmp_path: Path) -> None:
    put(store, one("x", learning=Learning.HELD))
    for approve, when in ((True, NOW), (False, NOW), (True, LATER - DAY + 1)):
        decide(store, "s-x", approve, now_us=when)
    assert cut(store, tmp_path / "s", FREE)["left_out"] == {"too_young": 1}
    cut(store, tmp_path / "t", FREE, as_of_us=LATER + 1, now_us=LATER + 1)
    (row,) = rows(tmp_path / "t")
    assert (row["weight_micro"], row["accepted_us"]) == (1_000_000, LATER - DAY + 1)
    assert store.history("x")[-1].seq == row["seq"]


def test_a_contribution_that_is_pulled_back_is_in_no_later_snapshot(store: Store, tmp_path: Path) -> None:
    put(store, *[one(f"c{n}") for n in range(3)])
    first = cut(store, tmp_path / "first", FREE)
    store.submit(lambda tx: tx.pull_back([PullBack("c1", "k")], now_us=NOW, mature_after_us=DAY)).result()
    second = cut(store, tmp_path / "second", FREE)
    assert held_by(tmp_path / "first") == ["c0", "c1", "c2"]
    assert held_by(tmp_path / "second") == ["c0", "c2"]
    with store.reading() as connection:
        assert [h.snapshot for h in snapshots.holding(connection, "c1")] == [first["id"]]
        assert [h.snapshot for h in snapshots.holding(connection, "c0")] == [first["id"], second["id"]]
        assert [s.id for s in snapshots.listed(connection, 10)] == [second["id"], first["id"]]
        held = [(name, weight) for name, _, weight in snapshots.members(connection, second["id"])]
    assert held == [("c0", 1_000_000), ("c2", 1_000_000)]
    assert verify(store).clean


@pytest.mark.parametrize("held", [True, False])
def test_what_a_snapshot_of_an_earlier_policy_holds_is_for_recall_however_young(
    store: Store, tmp_path: Path, held: bool
) -> None:
    put(store, one("c0"), one("c1", at_us=NOW if held else LATER))
    cut(store, tmp_path / "early", FREE)
    pulled, longer = [PullBack("c1", "k")], LATER - NOW + 1
    store.submit(
        lambda tx: tx.pull_back(pulled, now_us=LATER, mature_after_us=longer, mature_after_count=1_000)
    ).result()
    with store.reading() as connection:
        found = {each.stored.contribution.id: each.mature for each in members(connection, "k", limit=9)}
    assert found == {"c1": held}


def test_what_is_taken_back_while_it_is_being_cut_is_not_in_it(store: Store, tmp_path: Path) -> None:
    put(store, *[one(f"c{n}") for n in range(4)])
    pulled: list[bool] = []

    def meanwhile(doing: str, _count: int) -> None:
        if doing == "recording" and not pulled:
            pulled.append(True)
            store.submit(lambda tx: tx.pull_back([PullBack("c2", "k")], now_us=NOW, mature_after_us=DAY)).result()

    manifest = cut(store, tmp_path / "s", FREE, on_progress=meanwhile)
    assert held_by(tmp_path / "s") == ["c0", "c1", "c3"]
    with store.reading() as connection:
        assert [s.id for s in snapshots.listed(connection, 10)] == [manifest["id"]]
        assert snapshots.holding(connection, "c2") == []


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Store.open(store_policy(f"sqlite:///{tmp_path}/{name}.db"), clock=CLOCK) as opened:
            put(opened, *many(300, 60, networks=9))
            cut(opened, tmp_path / name, policy(caps=[*CAPS, {"facet": "group:network", "max_share": 0.2}]))
    for file in (JSONL, PARQUET, MANIFEST):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_caps_hold_exactly_and_the_manifest_says_how(store: Store, tmp_path: Path) -> None:
    caps = [
        {"facet": "group:network", "max_share": 0.2, "max_weight": 30},
        {"facet": "contributor", "max_share": 0.05, "max_weight": 9, "max_count": 12},
    ]
    put(store, *many(400, 60, networks=9), *[one(f"n{i}", "whoever", anonymous=True) for i in range(20)])
    manifest = cut(store, tmp_path / "s", policy(caps=caps), partitions=KEY)
    by: dict[str, dict[str, int]] = {"contributor": {}, "network": {}}
    for row in rows(tmp_path / "s"):
        item, weight = row["contribution"], row["weight_micro"]
        for kind, value in (("contributor", item["contributor"]), *item.get("groups", {}).items()):
            by[kind][value] = by[kind].get(value, 0) + weight
    whole = manifest["weight_micro"]
    assert whole == sum(by["contributor"].values()) > 0
    assert max(by["contributor"].values()) <= min(whole // 20, 9_000_000)
    assert max(by["network"].values()) <= min(whole // 5, 30_000_000)
    assert [cap["facet"] for cap in manifest["caps"]] == ["contributor", "group:network"]
    assert [cap["largest_micro"] for cap in manifest["caps"]] == [
        max(by[k].values()) for k in ("contributor", "network")
    ]
    assert manifest["left_out"]["over_count"] > 0
    assert verify_snapshot(tmp_path / "s", partitions=KEY).findings == []


@pytest.mark.parametrize("people", [19, 20])
def test_too_few_contributors_give_an_empty_snapshot_that_says_so(store: Store, tmp_path: Path, people: int) -> None:
    put(store, *[one(f"c{n}", f"u{n}") for n in range(people)])
    manifest = cut(store, tmp_path / "s")
    assert manifest["contributions"] == (people if people == 20 else 0)
    if people == 19:
        assert manifest["empty"] == (
            "19 contributors took part, and with fewer than 20 one of them is always more than 5 % of the whole"
        )
        assert manifest["left_out"] == {"capped_to_nothing": 19}
    assert verify_snapshot(tmp_path / "s").findings == []


def test_nothing_is_written_over_anything_and_the_future_is_not_mature(store: Store, tmp_path: Path) -> None:
    put(store, one("a"))
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("there", "dangling"):
        with pytest.raises(UsageError, match="never written over"):
            cut(store, tmp_path / name, FREE)
    with pytest.raises(UsageError, match="future"):
        cut(store, tmp_path / "s", FREE, as_of_us=LATER + 1)
    assert not (tmp_path / "s").exists()


def test_if_it_cannot_be_moved_to_its_place_nothing_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, one("a"))

    def full(_self: Path, _to: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(SnapshotError, match="No space left"):
            cut(store, tmp_path / "out" / "s", FREE)
    assert list((tmp_path / "out").iterdir()) == []
    # It is on the record and nobody has read it: the next one is another one.
    cut(store, tmp_path / "out" / "s", FREE)
    assert held_by(tmp_path / "out" / "s") == ["a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from feedback_guard.store.database import Store
from tests.learning.cutting import cut, policy
from tests.store.build import CLOCK, policy as store_policy

def die(doing, count):
    if doing == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

with Store.open(store_policy(sys.argv[1]), clock=CLOCK) as store:
    cut(store, Path(sys.argv[2]), policy(caps=[]), on_progress=die)
"""


@pytest.mark.parametrize("stage", ["adding up", "writing", "recording"])
def test_a_process_that_is_killed_leaves_nothing_that_looks_like_a_snapshot(tmp_path: Path, stage: str) -> None:
    url, out = f"sqlite:///{tmp_path}/store.db", tmp_path / "out" / "s"
    with Store.open(store_policy(url), clock=CLOCK) as opened:
        put(opened, *many(50, 30))
    ended = subprocess.run([sys.executable, "-c", KILLED, url, str(out), stage], check=False, timeout=PATIENCE_SECONDS)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    with Store.open(store_policy(url), clock=CLOCK) as opened:
        with opened.reading() as connection:
            assert snapshots.listed(connection, 10) == []
            assert snapshots.holding(connection, "c0") == []
        # What is left of it is given up in time, and is in nobody's way.
        manifest = cut(opened, out, FREE, as_of_us=LATER, now_us=LATER + DAY)
        assert verify_snapshot(out).findings == []
        with opened.reading() as connection:
            assert [s.id for s in snapshots.listed(connection, 10)] == [manifest["id"]]
        assert verify(opened).clean


def test_a_training_job_reads_it_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    put(store, *many(40, 25))
    manifest = cut(store, tmp_path / "s", partitions=KEY)
    snapshot = Snapshot.open(tmp_path / "s", ident=manifest["id"])
    assert len(snapshot) == len(list(snapshot)) == manifest["contributions"]
    assert sum(row.weight_micro for row in snapshot) == manifest["weight_micro"]
    assert all(0 < row.weight <= 1 and row.partition == KEY.of(row.contribution.contributor) for row in snapshot)
    with pytest.raises(SnapshotError, match="not s-other"):
        Snapshot.open(tmp_path / "s", ident="s-other")
    data = (tmp_path / "s" / JSONL).read_bytes()
    (tmp_path / "s" / JSONL).write_bytes(data[: data.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(SnapshotError, match="changed or cut off"):
        Snapshot.open(tmp_path / "s")
    with pytest.raises(SnapshotError, match="rows, the manifest says"):
        list(Snapshot.open(tmp_path / "s", check=False))


def test_parquet_holds_the_same_rows(store: Store, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    put(store, *many(60, 25, networks=4))
    cut(store, tmp_path / "s")
    table = pq.read_table(tmp_path / "s" / PARQUET)
    lines = rows(tmp_path / "s")
    expected: Sequence[object] = [row["contribution"]["input"] for row in lines]
    assert table["input"].to_pylist() == expected
    assert table["weight"].to_pylist() == [row["weight_micro"] / 1_000_000 for row in lines]
    assert json.loads((tmp_path / "s" / MANIFEST).read_text())["written_by"]["pyarrow"]
    report = verify_snapshot(tmp_path / "s")
    assert (report.findings, report.parquet) == ([], True)
