"""Whatever is done to the record of a snapshot in the database is found, and what the guard does is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from feedback_guard.ledger.report import Fault
from feedback_guard.ledger.verify import verify
from feedback_guard.store.database import Store
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Learning
from tests.learning.cutting import DAY, cut, many, one, policy, put
from tests.ledger.test_verify import Copies, changed
from tests.store.build import CLOCK, NOW, decide
from tests.store.build import policy as store_policy

FREE = policy(caps=[])


def cut_two(store: Store, folder: Path) -> tuple[str, str]:
    """Two snapshots, one of all that was accepted and one after something was pulled back; and what is held."""
    put(store, *many(40, 9), one("h", learning=Learning.HELD), one("m", learning=Learning.HELD))
    decide(store, "s-m", approve=True)
    first = cut(store, folder / "first", FREE, parquet=False)
    store.submit(lambda tx: tx.pull_back([PullBack("c3", "k")], now_us=NOW, mature_after_us=DAY)).result()
    second = cut(store, folder / "second", FREE, parquet=False)
    return first["id"], second["id"]


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    """A store with two snapshots that is tampered with behind the guard's back, and put back."""
    with Store.open(store_policy(f"sqlite:///{tmp_path}/original.db"), clock=CLOCK) as store:
        cut_two(store, tmp_path)
    made = Copies(tmp_path / "original.db")
    yield made
    made.close()


def test_what_the_guard_does_raises_no_alarm(store: Store, tmp_path: Path) -> None:
    cut_two(store, tmp_path)
    report = verify(store)
    assert report.findings == []
    assert report.snapshots == 2


def test_one_that_is_being_cut_raises_no_alarm(store: Store, tmp_path: Path) -> None:
    put(store, *many(40, 9))
    seen: list[int] = []

    def meanwhile(doing: str, _count: int) -> None:
        if doing == "recording":
            seen.append(len(verify(store).findings))

    cut(store, tmp_path / "s", FREE, parquet=False, on_progress=meanwhile)
    assert seen == [0]
    assert verify(store).findings == []


def test_every_edit_of_every_column_is_found(copies: Copies) -> None:
    tried = 0
    for row in copies.rows("snapshot"):
        for column, value in row.items():
            for other in changed(value):
                if other == value:
                    continue
                try:
                    report = copies.after(
                        (f"UPDATE snapshot SET {column} = ? WHERE number = ?", (other, row["number"]))
                    )
                except IntegrityError:
                    continue  # the database itself refuses it
                assert not report.clean, f"snapshot {row['number']}: {column} {value!r} became {other!r}"
                tried += 1
    members = copies.rows("snapshot_member")
    taken = {(row["snapshot"], row["seq"]) for row in members}
    for row in members[::7]:
        for column, value in row.items():
            for other in changed(value):
                moved = {**row, column: other}
                if column != "weight_micro" and (moved["snapshot"], moved["seq"]) in taken:
                    continue
                report = copies.after(
                    (
                        f"UPDATE snapshot_member SET {column} = ? WHERE snapshot = ? AND seq = ?",
                        (other, row["snapshot"], row["seq"]),
                    )
                )
                assert not report.clean, f"member {row}: {column} became {other!r}"
                tried += 1
    assert tried > 50


def test_every_member_that_is_taken_out_is_found(copies: Copies) -> None:
    rows = copies.rows("snapshot_member")
    assert len(rows) == 41 + 40
    for row in rows:
        report = copies.after(f"DELETE FROM snapshot_member WHERE snapshot = {row['snapshot']} AND seq = {row['seq']}")
        assert [finding.fault for finding in report.findings] == [Fault.ROW_EDITED]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            "INSERT INTO snapshot_member (snapshot, seq, weight_micro) "
            "SELECT 2, seq, 1000000 FROM ledger WHERE subject = 'c3' AND kind = 'judged'",
            "lists 41 members",
            id="a member that the other snapshot has",
        ),
        pytest.param(
            "INSERT INTO snapshot_member (snapshot, seq, weight_micro) "
            "SELECT 2, seq, 1000000 FROM ledger WHERE subject = 'h'",
            "has a weight that was never given to it",
            id="a member that is held",
        ),
        pytest.param(
            "INSERT INTO snapshot_member (snapshot, seq, weight_micro) "
            "SELECT 2, seq, 1 FROM ledger WHERE kind = 'snapshot'",
            "stands for nothing that was accepted",
            id="a member that is no contribution",
        ),
        pytest.param(
            "UPDATE snapshot_member SET weight_micro = 5000000 WHERE snapshot = 2 AND seq = 1",
            "has a weight that was never given to it",
            id="more weight than was ever given",
        ),
        pytest.param(
            "UPDATE snapshot_member SET weight_micro = weight_micro - 1 WHERE snapshot = 1 AND seq = 1",
            "lists 41 members",
            id="a micro-unit less",
        ),
        pytest.param("DELETE FROM snapshot_member WHERE snapshot = 1", "lists 0 members", id="all members"),
        pytest.param("DELETE FROM snapshot WHERE number = 1", "recorded a snapshot that is not there", id="the row"),
        pytest.param("UPDATE snapshot SET complete = 0 WHERE number = 2", "in complete", id="as if never completed"),
        pytest.param(
            "INSERT INTO snapshot SELECT 3, 's-new', created_us, as_of_us, head_seq, contributions, weight_micro, "
            "manifest, 1 FROM snapshot WHERE number = 1",
            "does not know this snapshot",
            id="a snapshot that was never cut",
        ),
        pytest.param(
            "INSERT INTO snapshot_member (snapshot, seq, weight_micro) VALUES (9, 1, 1)",
            "there is none",
            id="a member of no snapshot",
        ),
    ],
)
def test_it_says_what_was_done(copies: Copies, change: str, said: str) -> None:
    assert said in " | ".join(finding.message for finding in copies.after(change).findings)


def test_weight_that_is_moved_from_one_member_to_another_is_found(copies: Copies) -> None:
    """Count and sum stay the same: only the digest of the members tells."""
    giver, taker = [row["seq"] for row in copies.rows("snapshot_member") if row["weight_micro"] == 700_000][:2]
    report = copies.after(
        f"UPDATE snapshot_member SET weight_micro = weight_micro - 1 WHERE snapshot = 1 AND seq = {giver}",
        f"UPDATE snapshot_member SET weight_micro = weight_micro + 1 WHERE snapshot = 1 AND seq = {taker}",
    )
    assert not report.clean


@pytest.mark.postgres
@pytest.mark.parametrize("change", ["added", "removed", "weighed anew"])
def test_edits_on_a_server_are_found(postgres_store_url: str, tmp_path: Path, change: str) -> None:
    with Store.open(store_policy(postgres_store_url), clock=CLOCK) as store:
        cut_two(store, tmp_path)
        assert verify(postgres_store_url).clean
        edit = {
            "added": "INSERT INTO snapshot_member SELECT 2, seq, 1 FROM ledger WHERE subject = 'h'",
            "removed": "DELETE FROM snapshot_member WHERE snapshot = 2 AND seq = 5",
            "weighed anew": "UPDATE snapshot_member SET weight_micro = 1 WHERE snapshot = 1 AND seq = 5",
        }[change]
        assert store.submit(lambda tx: tx.connection.execute(text(edit)).rowcount).result() == 1
        assert not verify(postgres_store_url).clean
