"""A snapshot that was changed is found, and the finding names the row or the cap, even where all digests fit again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.errors import SnapshotError
from feedback_guard.learning.manifest import JSONL, MANIFEST, PARQUET
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.snapshot_record import verify_record
from feedback_guard.learning.snapshot_verify import verify_snapshot
from feedback_guard.policy.loader import LoadedPolicy, policy_digest
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store
from tests.learning.cutting import KEY, cut, many, one, policy, put, rewrite
from tests.store.build import CLOCK
from tests.store.build import policy as store_policy

Rows = list[dict[str, Any]]
BOTH = policy(
    caps=[
        {"facet": "contributor", "max_share": 0.05, "max_weight": 9, "max_count": 12},
        {"facet": "group:network", "max_share": 0.2},
    ]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path]]:
    """A store, and snapshots cut from it: `both` has caps on two facets, `one` on contributors alone."""
    folder = tmp_path_factory.mktemp("snapshots")
    with Store.open(store_policy(f"sqlite:///{folder}/store.db"), clock=CLOCK) as store:
        put(store, *many(300, 60, networks=9), *[one(f"n{i}", "-", anonymous=True) for i in range(9)])
        cut(store, folder / "both", BOTH, partitions=KEY)
        cut(store, folder / "one", policy())
        yield store, folder


@pytest.fixture
def snapshot(made: tuple[Store, Path], tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(made[1] / "both", tmp_path / "both")


def findings(directory: Path) -> list[str]:
    return verify_snapshot(directory).findings


def edit(number: int, **values: Any) -> Callable[[Rows], Rows]:
    """Change a row, by its number from 1."""

    def change(rows: Rows) -> Rows:
        rows[number - 1] |= values
        return rows

    return change


def give_to(name: str | None, *, group: str | None = None) -> Callable[[Rows], Rows]:
    """Give as many rows to one contributor, or to one group, as breaks its share."""

    def change(rows: Rows) -> Rows:
        for row in rows[:100]:
            if group is not None:
                row["contribution"]["groups"] = {"network": group}
            else:
                row["contribution"]["contributor"], row["anonymous"], row["partition"] = name, False, 0
        return rows

    return change


def bound(facet: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Change a cap in the manifest."""

    def change(manifest: dict[str, Any]) -> None:
        next(cap for cap in manifest["caps"] if cap["facet"] == facet).update(values)

    return change


def test_what_was_written_has_no_findings(made: tuple[Store, Path], snapshot: Path) -> None:
    assert findings(made[1] / "both") == findings(made[1] / "one") == []
    rewrite(snapshot)  # changes nothing but the list of files
    assert findings(snapshot) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(edit(3, weight_micro=1_000_001), "row 3: its weight is 1000001", id="more than it was given"),
        pytest.param(edit(3, weight_micro=0), "row 3: its weight is 0", id="a row without weight"),
        pytest.param(edit(4, judged_micro=2_000_000), "row 4: its weight is", id="given more than a whole"),
        pytest.param(edit(5, own_micro=0), "row 5: its own weight is 0", id="no weight of its own"),
        pytest.param(edit(6, accepted_us=2**52), "row 6: it was not mature", id="not mature"),
        pytest.param(edit(7, seq=1), "row 7: entry 1 of the ledger does not come after", id="out of order"),
        pytest.param(edit(7, seq=10**6), "row 7: entry 1000000 lies behind the end", id="after the end of the ledger"),
        pytest.param(edit(8, partition=7), "row 8: there is no partition 7", id="no such partition"),
        pytest.param(lambda rows: [*rows, dict(rows[0], seq=309)], "the contribution stands twice", id="twice"),
        pytest.param(edit(9, extra=1), "row 9: it cannot be read", id="an unknown key"),
        pytest.param(edit(9, seq=True), "row 9: it cannot be read", id="a boolean for a number"),
        pytest.param(
            give_to("u1"), "cap contributor max_share 1/20: the contributor 'u1' has", id="contributor's share"
        ),
        pytest.param(give_to("u1"), "cap contributor max_weight: the contributor 'u1' has", id="contributor's weight"),
        pytest.param(give_to("u1"), "cap contributor max_count: the contributor 'u1' has 1", id="contributor's count"),
        pytest.param(
            give_to(None, group="crew"), "cap group:network max_share 1/5: the network 'crew' has", id="a group's share"
        ),
    ],
)
def test_a_changed_row_is_found_though_all_digests_fit(
    snapshot: Path, change: Callable[[Rows], Rows], said: str
) -> None:
    rewrite(snapshot, change)
    assert any(said in sentence for sentence in findings(snapshot)), findings(snapshot)


def test_one_micro_unit_too_much_is_found(made: tuple[Store, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(made[1] / "one", tmp_path / "one")
    manifest = verify_snapshot(directory).manifest
    (cap,) = manifest["caps"]
    assert cap["largest_micro"] == manifest["weight_micro"] // 20  # the share binds
    # A share that allows a single micro-unit less than the largest has.
    tight = f"{cap['largest_micro'] - 1}/{manifest['weight_micro']}"
    rewrite(directory, also=bound("contributor", max_share=tight))
    said = [sentence for sentence in findings(directory) if sentence.startswith("cap contributor max_share")]
    assert len(said) == cap["reduced"] > 1
    assert all("its last row is row " in sentence for sentence in said)


def test_weight_that_was_taken_without_need_is_found(made: tuple[Store, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(made[1] / "one", tmp_path / "one")

    def take(rows: Rows) -> Rows:
        row = next(row for row in rows if row["weight_micro"] == row["judged_micro"] == 1_000_000)
        row["weight_micro"] -= 1
        return rows

    rewrite(directory, take)
    assert any("lost weight without need" in sentence for sentence in findings(directory))


@pytest.mark.parametrize(
    ("also", "said"),
    [
        pytest.param(lambda m: m.update(contributions=1), "manifest: contributions is 1", id="contributions"),
        pytest.param(lambda m: m.update(weight_micro=5), "manifest: weight_micro is 5", id="weight"),
        pytest.param(lambda m: m.update(members_sha256="0"), "manifest: members_sha256 is 0", id="members"),
        pytest.param(lambda m: m["files"][0].update(sha256="0"), f"{JSONL!r} does not have the digest", id="digest"),
        pytest.param(bound("contributor", largest_micro=1), "the largest contributor does not have 1", id="largest"),
        pytest.param(lambda m: m.update(certificate=None), "it has a partition", id="partitions"),
    ],
)
def test_a_manifest_that_does_not_fit_the_rows_is_found(
    snapshot: Path, also: Callable[[dict[str, Any]], None], said: str
) -> None:
    rewrite(snapshot, also=also)
    assert any(said in sentence for sentence in findings(snapshot)), findings(snapshot)


def test_files_that_are_changed_missing_or_added_are_found(snapshot: Path) -> None:
    data = (snapshot / PARQUET).read_bytes()
    (snapshot / PARQUET).write_bytes(data[:-9])
    (snapshot / "more.jsonl").write_text("{}\n")
    said = findings(snapshot)
    assert f"{PARQUET!r} does not have the digest that the manifest says" in said
    assert f"{PARQUET!r} cannot be read: ArrowInvalid" in said
    assert "'more.jsonl' is in the directory and not in the manifest" in said
    (snapshot / JSONL).unlink()
    assert f"{JSONL!r} is not in the directory" in findings(snapshot)


def test_parquet_with_other_rows_is_found(made: tuple[Store, Path], snapshot: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(snapshot / PARQUET)
    weights = table["weight_micro"].to_pylist()
    weights[4] += 1
    place = table.schema.get_field_index("weight_micro")
    pq.write_table(table.set_column(place, table.schema.field(place), [weights]), snapshot / PARQUET)
    assert "row 5: Parquet and JSON differ in weight_micro" in findings(snapshot)
    pq.write_table(table.slice(0, 10), snapshot / PARQUET)
    assert "row 11: it is in one of the two files only" in findings(snapshot)


def test_contributors_are_dealt_anew_with_the_key(snapshot: Path) -> None:
    assert verify_snapshot(snapshot, partitions=KEY).findings == []
    other = Partitions(KEY.count, b"another key, as long")
    said = verify_snapshot(snapshot, partitions=other).findings
    assert said[0].startswith(f"partitions: the key is {other.key_id}, not {KEY.key_id}")
    assert sum("deals its contributor to another partition" in sentence for sentence in said) > 100
    rewrite(snapshot, edit(2, partition=(verify_row(snapshot) + 1) % KEY.count))
    assert any("row 2: the key deals its contributor" in s for s in verify_snapshot(snapshot, partitions=KEY).findings)


def verify_row(directory: Path) -> int:
    import json

    return int(json.loads((directory / JSONL).read_text().splitlines()[1])["partition"])


def test_a_manifest_that_was_edited_alone_is_refused(snapshot: Path) -> None:
    text = (snapshot / MANIFEST).read_text()
    (snapshot / MANIFEST).write_text(text.replace('"contributions":', '"contributions": ', 1).replace("1/20", "1/2"))
    with pytest.raises(SnapshotError, match="does not have the name it carries"):
        verify_snapshot(snapshot)
    (snapshot / MANIFEST).unlink()
    with pytest.raises(SnapshotError, match=r"no manifest\.json"):
        verify_snapshot(snapshot)


def loaded(rules: Policy) -> LoadedPolicy:
    from dataclasses import fields

    values = {"policy": rules, "digest": policy_digest(rules)}
    return LoadedPolicy(**{item.name: values.get(item.name, ()) for item in fields(LoadedPolicy)})  # type: ignore[arg-type]


def test_the_record_tells_a_forged_snapshot_from_the_one_that_was_cut(made: tuple[Store, Path], snapshot: Path) -> None:
    report = verify_snapshot(snapshot)
    verify_record(made[0], loaded(BOTH), report)
    assert report.findings == []
    # Everything fits, the caps hold, a row is gone: only the record knows.
    rewrite(snapshot, lambda rows: [row for row in rows if row["seq"] != 5])
    report = verify_snapshot(snapshot)
    verify_record(made[0], loaded(BOTH), report)
    assert any("is not recorded in this store" in sentence for sentence in report.findings)


def test_a_manifest_with_looser_caps_than_its_policy_is_found(made: tuple[Store, Path], snapshot: Path) -> None:
    rewrite(snapshot, also=bound("contributor", max_share="1/2"))
    report = verify_snapshot(snapshot)
    verify_record(made[0], loaded(BOTH), report)
    assert "cap contributor: the manifest has another bound than the policy that it names" in report.findings
