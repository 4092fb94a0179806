"""Contributions from files: plain and compressed, bounded, and every error names its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from feedback_guard import settings
from feedback_guard.errors import ContributionError
from feedback_guard.jsonl import read_contributions

LINE = json.dumps(
    {"id": "a", "at": "2026-03-02T00:00:00Z", "contributor": "u", "kind": "label", "input": "x", "label": "y"}
)


@pytest.fixture(params=["plain.jsonl", "packed.jsonl.gz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    return path


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def test_contributions_come_in_the_order_of_the_file_and_blank_lines_are_skipped(file: Path) -> None:
    lines = [LINE.replace('"a"', f'"c{i}"') for i in range(5)]
    write(file, "\n" + "\n\n".join(lines) + "\r\n  \n")
    assert [each.id for each in read_contributions(file)] == [f"c{i}" for i in range(5)]


def test_a_last_line_without_an_end_is_a_line(file: Path) -> None:
    assert len(list(read_contributions(write(file, LINE)))) == 1


def test_an_empty_file_holds_nothing(file: Path) -> None:
    assert list(read_contributions(write(file, ""))) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "not JSON at character 0"),
        ("input,label", 'not JSON at character 0: Expecting value; each line is a JSON object such as {"id": "c1"'),
        (b"\xef\xbb\xbf{}", "; save the file without a byte order mark"),
        ("{", "; a JSON object stands on one line"),
        ("7", "this is no object; each line is"),
        ("[" * 100_000, "nested too deep"),
        ('{"id": "a", "id": "b"}', "a key stands twice"),
        ('{"id": NaN}', "NaN is not JSON"),
        ("[]", "this is a list; each line is a JSON object such as {"),
        (LINE.replace('"label": "y"', '"lable": "y"'), "lable"),
        (LINE.replace("2026-03-02T00:00:00Z", "yesterday"), "at: "),
        (LINE.replace('"x"', '"\\ud800"'), "input: "),
        ('{"id": ' + "9" * 5_000 + "}", ""),
        (b'{"id": "\xff"}', "not UTF-8 at byte 8"),
    ],
    ids=[
        "words",
        "CSV",
        "a mark",
        "a part",
        "a number",
        "depth",
        "twice",
        "NaN",
        "a list",
        "unknown key",
        "time",
        "surrogate",
        "long number",
        "bytes",
    ],
)
def test_a_wrong_line_is_named_with_file_and_number(file: Path, line: str | bytes, says: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    write(file, LINE.encode() + b"\n\n" + raw + b"\n")
    with pytest.raises(ContributionError) as error:
        list(read_contributions(file))
    assert str(error.value).startswith(f"{file}:3: ")
    assert says in str(error.value)


def test_lines_before_a_wrong_one_are_given_out(file: Path) -> None:
    reading = read_contributions(write(file, LINE + "\nwrong\n"))
    assert next(reading).id == "a"
    with pytest.raises(ContributionError):
        next(reading)


def test_a_line_beyond_its_bound_is_not_read_to_its_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_LINE_BYTES", 1_000)
    with pytest.raises(ContributionError, match=r":2: the line is longer than 1,000 bytes"):
        list(read_contributions(write(file, LINE + "\n" + " " * 100_000)))


def test_a_small_file_that_unpacks_to_a_huge_one_is_stopped(tmp_path: Path) -> None:
    bomb = write(tmp_path / "bomb.jsonl.gz", (b" " * 999 + b"\n") * 20_000)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(ContributionError, match="the file is larger than 1,000,000 bytes"):
        list(read_contributions(bomb, max_bytes=1_000_000))


def test_more_lines_than_asked_for_are_refused(file: Path) -> None:
    write(file, "\n".join([LINE] * 4))
    assert len(list(read_contributions(file, max_lines=4))) == 4
    with pytest.raises(ContributionError, match=r":4: the file has more than 3 lines"):
        list(read_contributions(file, max_lines=3))


@pytest.mark.parametrize("cut", [5, 40, -3], ids=["in the header", "in the data", "in the checksum"])
def test_a_compressed_file_that_was_cut_off_is_not_taken_for_a_short_one(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress("\n".join(LINE.replace('"a"', f'"c{i}"') for i in range(50)).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:cut])
    with pytest.raises(ContributionError, match="damaged or cut off"):
        list(read_contributions(tmp_path / "cut.jsonl.gz"))


def test_a_file_that_is_not_compressed_although_its_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl.gz").write_text(LINE)
    with pytest.raises(ContributionError, match="damaged or cut off"):
        list(read_contributions(tmp_path / "plain.jsonl.gz"))


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ContributionError, match="cannot be read"):
            list(read_contributions(path))
