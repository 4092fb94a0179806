"""A directory appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedback_guard.directory import read_bounded, write_directory

FILES = {"a.json": b"{}", "b.bin": b"\x00" * 10}


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_new_directory_holds_just_the_files(tmp_path: Path) -> None:
    write_directory(tmp_path / "deep" / "new", FILES)
    assert listing(tmp_path) == ["deep", "deep/new", "deep/new/a.json", "deep/new/b.bin"]
    assert (tmp_path / "deep/new/b.bin").read_bytes() == FILES["b.bin"]


def test_an_earlier_one_is_replaced_whole(tmp_path: Path) -> None:
    write_directory(tmp_path / "d", {"old": b"1"})
    write_directory(tmp_path / "d", FILES)
    assert listing(tmp_path) == ["d", "d/a.json", "d/b.bin"]


def test_a_fault_while_writing_leaves_nothing_and_keeps_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_directory(tmp_path / "d", {"old": b"1"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_directory(tmp_path / "d", FILES)
    assert listing(tmp_path) == ["d", "d/old"]


def test_a_fault_while_moving_puts_the_earlier_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_directory(tmp_path / "d", {"old": b"1"})
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if target == tmp_path / "d" and not self.name.endswith(".old"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(OSError, match="Permission"):
        write_directory(tmp_path / "d", FILES)
    assert listing(tmp_path) == ["d", "d/old"]


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_bounded(tmp_path / "f", 5) == b"12345"
    with pytest.raises(ValueError, match="5 bytes; at most 4"):
        read_bounded(tmp_path / "f", 4)
