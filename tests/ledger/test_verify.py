"""Whatever is done to the record is found; whatever the guard does is not."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysqlite3
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.ledger.chain import GENESIS, Checkpoint, Entry, entry_hash, link
from feedback_guard.ledger.report import Fault, Report
from feedback_guard.ledger.verify import verify
from feedback_guard.store import tables
from feedback_guard.store.database import Store
from feedback_guard.store.deliveries import find, move
from feedback_guard.store.engines import open_engines
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import CLOCK, NOW, claims, decide, deliver, held, insert, policy, submission
from tests.store.ready import ready

ENTRIES = 19
"""Entries that `fill` makes."""


def fill(store: Store) -> None:
    """Everything that can happen, at least once."""
    insert(store, submission("s1", delivery=Delivery.DISPATCHING, worker="w1"), held("s2", n=2), held("s3"), held("s4"))
    insert(store, submission("s5", Learning.LIMITED, delivery=Delivery.REFUSED), submission("s6", anonymous=True))
    deliver(store, "s1", Delivery.DELIVERED, status=200)
    decide(store, "s2", approve=True, note="fine")
    decide(store, "s3", approve=False)
    decide(store, "s3", approve=True)
    claims(store, limit=1)
    deliver(store, "s2", Delivery.FAILED, status=500, seconds=0.5)
    store.submit(lambda tx: tx.append("note", "guard", {"n": 1}, NOW)).result()
    insert(store, submission("s7", Learning.HELD, delivery=Delivery.DISPATCHING, worker="w2"))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A filled store, closed."""
    with Store.open(policy(ready(f"sqlite:///{tmp_path}/original.db")), clock=CLOCK) as store:
        fill(store)
    return tmp_path / "original.db"


class Copies:
    """A filled store that is tampered with behind the guard's back, looked at, and put back as it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_engines(f"sqlite:///{path}", 1_000_000).writer.connect()
        self._connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        self._connection.rollback()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        yield self._connection

    def after(self, *statements: str | tuple[str, tuple[Any, ...]], checkpoint: Checkpoint | None = None) -> Report:
        self._connection.exec_driver_sql("BEGIN")
        try:
            for statement in statements:
                text, values = statement if isinstance(statement, tuple) else (statement, ())
                assert self._connection.exec_driver_sql(text, values).rowcount != 0, f"{text} did nothing"
            return verify(self, checkpoint)
        finally:
            self._connection.rollback()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._connection.exec_driver_sql(f"SELECT * FROM {table}")]

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def copies(original: Path) -> Iterator[Copies]:
    made = Copies(original)
    yield made
    made.close()


def test_what_the_guard_does_raises_no_alarm(store: Store) -> None:
    fill(store)
    report = verify(store, store.checkpoint())
    assert report.findings == []
    assert report.clean
    assert (report.contributions, report.submissions) == (8, 7)
    assert (report.head.seq, report.head.hash) == (store.checkpoint().seq, store.checkpoint().hash)


def test_an_empty_ledger_is_sound(store: Store) -> None:
    report = verify(store, Checkpoint(0, GENESIS))
    assert report.clean
    assert report.head == Checkpoint(0, GENESIS)
    assert not verify(store, Checkpoint(0, "a" * 64)).clean


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_guard_does_raises_no_alarm(sqlite_store: Store, seed: int) -> None:
    """A walk through the states at random, with legal and illegal moves."""
    random_, store = random.Random(seed), sqlite_store
    idents: list[str] = []
    refused = 0
    for step in range(150):
        move = random_.choice(["insert", "insert", "decide", "decide", "deliver", "claim", "abandon", "note"])
        try:
            if move == "insert":
                ident = f"{step}"
                delivery = random_.choice([Delivery.NONE, Delivery.HELD, Delivery.DISPATCHING, Delivery.REFUSED])
                states = random_.choices([Learning.ACCEPTED, Learning.HELD, Learning.LIMITED], k=random_.randint(1, 3))
                request = random_.choice([None, random_.randbytes(20)])
                insert(store, submission(ident, *states, delivery=delivery, request=request))
                idents.append(ident)
            elif move == "decide" and idents:
                decide(store, random_.choice(idents), approve=random_.random() < 0.5, note=f"{step}")
            elif move == "deliver" and idents:
                deliver(store, random_.choice(idents), random_.choice(list(Delivery)), step=step / 7)
            elif move == "claim":
                claims(store, f"w{step % 3}", limit=2)
            elif move == "abandon":
                store.submit(lambda tx, step=step: tx.abandon_lost(NOW + step * 10**6, 10**7)).result()  # type: ignore[misc]
            elif move == "note":
                store.submit(lambda tx, step=step: tx.append("note", str(step), {}, NOW)).result()  # type: ignore[misc]
        except TransitionError:
            refused += 1
    assert refused
    assert verify(store, store.checkpoint()).findings == []
    waiting = {ident for ident in idents if (found := store.submission(ident)) and found.held}
    delivery_held = {
        ident for ident in idents if (found := store.submission(ident)) and found.delivery is Delivery.HELD
    }
    assert {item.id for item in store.held(limit=200)} == waiting | delivery_held


def changed(value: Any) -> list[Any]:
    """Other values of the same type, some of them plausible."""
    if isinstance(value, int):
        return [value + 1, -value - 1, value ^ 1]
    if isinstance(value, bytes):
        return [value + b"\0", b"", bytes([value[0] ^ 1]) + value[1:] if value else b"x"]
    if isinstance(value, str):
        flipped = value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
        return [value + " ", "", flipped, value.replace("1", "2"), value.replace("held", "accepted")]
    return ["x", 1]


def test_every_edit_of_every_column_of_the_ledger_is_found(copies: Copies) -> None:
    tried = 0
    for row in copies.rows("ledger"):
        for column, value in row.items():
            for other in changed(value):
                if other == value or (column == "seq" and 1 <= other <= ENTRIES):
                    continue
                report = copies.after((f"UPDATE ledger SET {column} = ? WHERE seq = ?", (other, row["seq"])))
                assert not report.clean, f"{column} of entry {row['seq']}: {value!r} became {other!r}"
                tried += 1
    assert tried > 300


FREE = {
    ("submission", "version"),  # only guards against moderators overtaking each other
    ("submission", "moved_us"),  # only tells how long a lost process is silent
    ("submission", "worker"),  # while the first dispatch lasts
    ("contribution", "charged_micro"),  # only keeps an approval from being charged twice
}
"""Columns that the ledger does not cover, and why that is bearable."""


@pytest.mark.parametrize("table", ["submission", "contribution"])
def test_every_edit_of_every_column_of_the_rows_is_found(copies: Copies, table: str) -> None:
    tried = 0
    for row in copies.rows(table):
        for column, value in row.items():
            if (table, column) in FREE:
                continue
            for other in changed(value):
                if other == value:
                    continue
                try:
                    report = copies.after((f"UPDATE {table} SET {column} = ? WHERE id = ?", (other, row["id"])))
                except IntegrityError:
                    continue  # the database itself refuses it
                assert not report.clean, f"{table} {row['id']}: {column} {value!r} became {other!r}"
                tried += 1
    assert tried > 100


def test_every_removed_entry_is_found(copies: Copies) -> None:
    last = len(copies.rows("ledger"))
    for seq in range(1, last + 1):
        report = copies.after(f"DELETE FROM ledger WHERE seq = {seq}")
        assert not report.clean, seq
        if seq < last:
            assert report.findings[0].fault is Fault.MISSING
            assert f"entry {seq} is missing" in report.findings[0].message


def test_every_two_entries_that_change_places_are_found(copies: Copies) -> None:
    last = len(copies.rows("ledger"))
    for first in range(1, last + 1):
        for second in range(first + 1, last + 1):
            report = copies.after(
                f"UPDATE ledger SET seq = -1 WHERE seq = {first}",
                f"UPDATE ledger SET seq = {first} WHERE seq = {second}",
                f"UPDATE ledger SET seq = {second} WHERE seq = -1",
            )
            assert {item.fault for item in report.findings} >= {Fault.EDITED, Fault.UNLINKED}


def test_removing_and_closing_the_gap_is_found(copies: Copies) -> None:
    last = len(copies.rows("ledger"))
    for seq in range(1, last):
        report = copies.after(
            f"DELETE FROM ledger WHERE seq = {seq}", f"UPDATE ledger SET seq = seq - 1 WHERE seq > {seq}"
        )
        assert not report.clean


def test_an_inserted_entry_is_found(copies: Copies) -> None:
    rows = copies.rows("ledger")
    head = Checkpoint(rows[-1]["seq"], rows[-1]["hash"])
    forged = link(head, "approved", "s7.0", {"from": "held", "to": "approved", "weight_micro": 1_000_000}, NOW)
    report = copies.after(("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)", tuple(forged)))
    assert {item.fault for item in report.findings} == {Fault.ROW_EDITED}


def test_every_cut_off_end_is_found_with_a_checkpoint(copies: Copies) -> None:
    rows = copies.rows("ledger")
    checkpoint = Checkpoint(rows[-1]["seq"], rows[-1]["hash"])
    for seq in range(1, len(rows) + 1):
        report = copies.after(f"DELETE FROM ledger WHERE seq >= {seq}", checkpoint=checkpoint)
        assert Fault.TRUNCATED in {item.fault for item in report.findings}


def test_an_end_cut_off_with_its_rows_needs_the_checkpoint(copies: Copies) -> None:
    rows = copies.rows("ledger")
    cut = ("DELETE FROM ledger WHERE seq = 19", "DELETE FROM contribution WHERE id = 's7.0'")
    rest = "DELETE FROM submission WHERE id = 's7'"
    assert copies.after(*cut, rest).clean
    report = copies.after(*cut, rest, checkpoint=Checkpoint(rows[-1]["seq"], rows[-1]["hash"]))
    assert [item.fault for item in report.findings] == [Fault.TRUNCATED]


def rewritten(rows: list[dict[str, Any]], seq: int, **changes: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Statements that edit an entry and give it and all later ones new, right hashes."""
    prev = GENESIS if seq == 1 else rows[seq - 2]["hash"]
    statements: list[tuple[str, tuple[Any, ...]]] = [  # out of the way of the unique columns first
        ("UPDATE ledger SET hash = ?, prev_hash = ? WHERE seq = ?", (f"h{row['seq']}", f"p{row['seq']}", row["seq"]))
        for row in rows[seq - 1 :]
    ]
    for row in rows[seq - 1 :]:
        values = row | (changes if row["seq"] == seq else {})
        hash_ = entry_hash(row["seq"], values["at_us"], values["kind"], values["subject"], values["body"], prev)
        entry = Entry(row["seq"], values["at_us"], values["kind"], values["subject"], values["body"], prev, hash_)
        statements.append(
            (
                "UPDATE ledger SET seq=?, at_us=?, kind=?, subject=?, body=?, prev_hash=?, hash=? WHERE seq=?",
                (*entry, row["seq"]),
            )
        )
        prev = hash_
    return statements


def test_a_ledger_written_anew_is_found_with_a_checkpoint(copies: Copies) -> None:
    rows = copies.rows("ledger")
    checkpoint = Checkpoint(rows[-1]["seq"], rows[-1]["hash"])
    for seq in range(1, len(rows) + 1):
        forged = rewritten(rows, seq, at_us=NOW - 1)
        assert not [f for f in copies.after(*forged).findings if f.fault in {Fault.EDITED, Fault.UNLINKED}]
        report = copies.after(*forged, checkpoint=checkpoint)
        assert Fault.REWRITTEN in {item.fault for item in report.findings}


def test_a_ledger_written_anew_contradicts_the_rows(copies: Copies) -> None:
    rows = copies.rows("ledger")
    body = rows[0]["body"].replace('"decision":"accept"', '"decision":"reject"')
    assert body != rows[0]["body"]
    report = copies.after(*rewritten(rows, 1, body=body))
    assert {item.fault for item in report.findings} == {Fault.ROW_EDITED}
    assert "decision" in report.findings[0].message


def test_a_body_with_another_spelling_is_found_even_with_a_right_hash(copies: Copies) -> None:
    rows = copies.rows("ledger")
    spaced = rows[-1]["body"].replace(":", ": ", 1)
    report = copies.after(*rewritten(rows, len(rows), body=spaced))
    assert [item.fault for item in report.findings] == [Fault.EDITED]


def test_a_checkpoint_of_another_ledger_is_found(copies: Copies) -> None:
    report = copies.after("UPDATE ledger SET seq = seq WHERE seq = 1", checkpoint=Checkpoint(5, "a" * 64))
    assert [item.fault for item in report.findings] == [Fault.REWRITTEN]


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM contribution WHERE id = 's1.0'", Fault.ROW_REMOVED),
        ("DELETE FROM contribution WHERE id = 's2.1'", Fault.ROW_REMOVED),
        ("DELETE FROM submission WHERE id = 's1'", Fault.ROW_REMOVED),
        ("DELETE FROM submission WHERE id = 's4'", Fault.ROW_REMOVED),
        (
            "INSERT INTO contribution SELECT 'new', submission, 7, payload, verdict, decision, learning, weight_micro,"
            " suspicion_micro, charged_micro, vectors FROM contribution WHERE id = 's1.0'",
            Fault.ROW_UNRECORDED,
        ),
        (
            "INSERT INTO submission SELECT 'new', route, at_us, anonymous, delivery, version, n_held, waiting, request,"
            " worker, moved_us, detail FROM submission WHERE id = 's1'",
            Fault.ROW_UNRECORDED,
        ),
        ("UPDATE contribution SET submission = 's5', position = 9 WHERE id = 's1.0'", Fault.ROW_EDITED),
        ("UPDATE contribution SET learning = 'approved', weight_micro = 1000000 WHERE id = 's7.0'", Fault.ROW_EDITED),
        ("UPDATE contribution SET payload = 'no json' WHERE id = 's1.0'", Fault.ROW_EDITED),
        ("UPDATE contribution SET verdict = '[]' WHERE id = 's1.0'", Fault.ROW_EDITED),
        ("UPDATE submission SET delivery = 'nonsense' WHERE id = 's1'", Fault.ROW_EDITED),
        ("UPDATE submission SET waiting = 0 WHERE id = 's4'", Fault.ROW_EDITED),
    ],
)
def test_rows_behind_the_guards_back_are_found(copies: Copies, statement: str, fault: Fault) -> None:
    assert fault in {item.fault for item in copies.after(statement).findings}


def test_findings_do_not_repeat_contributed_text(copies: Copies) -> None:
    report = copies.after("UPDATE contribution SET payload = replace(payload, 'Karte', 'Geld')")
    assert report.n_findings == 8
    assert not [item for item in report.findings if "Geld" in item.message or "Karte" in item.message]


def test_findings_are_bounded(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback_guard.ledger.report.MAX_FINDINGS", 3)
    report = copies.after("UPDATE ledger SET at_us = at_us + 1")
    assert (len(report.findings), report.n_findings) == (3, ENTRIES)


def test_what_is_written_between_the_passes_raises_no_alarm(store: Store) -> None:
    """The chain is walked first and the rows come later: both must be of one moment."""
    fill(store)
    report = verify(store, on_progress=lambda _: insert(store, submission("meanwhile")))
    assert report.findings == []
    assert report.contributions == 8
    assert store.submission("meanwhile") is not None


def test_a_guard_that_goes_on_writing_raises_no_alarm(store: Store) -> None:
    fill(store)
    pending = [store.submit(lambda tx, n=n: tx.insert(held(f"busy{n}"))) for n in range(60)]  # type: ignore[misc]
    reports = []
    while not all(future.done() for future in pending):
        reports.append(verify(store))
    for future in pending:
        future.result()
    reports.append(verify(store))
    assert [report.findings for report in reports] == [[]] * len(reports)
    assert reports[-1].head.seq == ENTRIES + 60


def test_memory_does_not_grow_with_the_ledger(sqlite_store: Store) -> None:
    def many(tx: Any, start: int) -> None:
        for n in range(start, start + 1_500):
            tx.append("note", f"n{n}", {"text": "x" * 200, "n": n}, NOW)

    def peak() -> int:
        tracemalloc.start()
        assert verify(sqlite_store).clean
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    for start in (0, 1_500):
        sqlite_store.submit(lambda tx, start=start: many(tx, start)).result()  # type: ignore[misc]
    small = peak()
    for start in range(3_000, 12_000, 1_500):
        sqlite_store.submit(lambda tx, start=start: many(tx, start)).result()  # type: ignore[misc]
    assert peak() < small * 1.3


def test_progress_is_told(sqlite_store: Store) -> None:
    fill(sqlite_store)
    told: list[int] = []
    verify(sqlite_store, on_progress=told.append)
    assert sum(told) == ENTRIES


def test_a_store_that_is_not_there_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        verify(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def tamper(path: Path, statement: str) -> None:
    driver = pysqlite3.connect(str(path), isolation_level=None)
    driver.execute(statement)
    driver.close()


def test_a_store_of_another_version_cannot_be_judged(original: Path) -> None:
    tamper(original, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="schema version"):
        verify(f"sqlite:///{original}")


def test_verifying_changes_nothing(original: Path) -> None:
    before = original.read_bytes()
    assert verify(f"sqlite:///{original}").clean
    assert original.read_bytes() == before


def test_rows_can_be_left_alone(original: Path) -> None:
    tamper(original, "UPDATE contribution SET weight_micro = 5")
    assert verify(f"sqlite:///{original}", rows=False).clean
    assert not verify(f"sqlite:///{original}").clean


@pytest.mark.postgres
def test_edits_on_a_server_are_found(postgres_store_url: str) -> None:
    with Store.open(policy(postgres_store_url), clock=CLOCK) as store:
        fill(store)
        edit = tables.ledger.update().where(tables.ledger.c.seq == 4).values(at_us=1)
        store.submit(lambda tx: tx.connection.execute(edit).rowcount).result()
        report = verify(postgres_store_url)
        assert [(item.fault, item.seq) for item in report.findings] == [(Fault.EDITED, 4)]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "goes on from unknown and nobody said so"),
        ({"resolution": "not-arrived", "moderator": ""}, "nobody said so"),
        ({"resolution": "arrived", "moderator": "mo"}, "nobody said so"),
        ({"resolution": "retry", "moderator": "mo"}, "nobody said so"),
        ({"retry": 1}, None),
        ({"resolution": "not-arrived", "moderator": "mo"}, None),
        ({"resolution": "not-arrived", "moderator": "mo", "fence": 2}, "is of claim 2, it was 1"),
    ],
)
def test_a_way_on_that_nobody_chose_is_found(store: Store, told: dict[str, Any], said: str | None) -> None:
    """Somebody with the writer's rights sends again what is unknown, and writes the ledger as the guard would."""
    insert(store, held("s1"))
    decide(store, "s1", approve=True)
    claims(store)
    deliver(store, "s1", Delivery.UNKNOWN)
    store.submit(lambda tx: move(tx._group, find(tx._group, "s1"), Delivery.APPROVED, now_us=NOW, told=told)).result()
    found = [finding.message for finding in verify(store).findings]
    if said is None:
        assert found == []
    else:
        assert said in " ".join(found)
        assert all(finding.fault in {Fault.ILLEGAL, Fault.ROW_EDITED} for finding in verify(store).findings)


def test_a_claim_that_goes_back_by_itself_is_found(store: Store) -> None:
    insert(store, held("s1"))
    decide(store, "s1", approve=True)
    claims(store)
    store.submit(lambda tx: move(tx._group, find(tx._group, "s1"), Delivery.APPROVED, now_us=NOW)).result()
    assert [finding.message for finding in verify(store).findings] == ["entry 5 gives a claim back and does not say so"]
