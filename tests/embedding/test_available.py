"""How many threads of a model can run at the same time, as the system tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from feedback_guard.embedding import available
from feedback_guard.embedding.available import allowed_cores, available_threads, visible_cores


def cgroup(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def of_version_1(quota: int, period: int) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": f"{period}\n"}


TOLD = [
    ({}, None),
    ({"cpu.max": "max 100000\n"}, None),
    ({"cpu.max": "200000 100000\n"}, 2.0),
    ({"cpu.max": "150000 100000\n"}, 1.5),
    ({"cpu.max": "25000 50000\n"}, 0.5),
    ({"cpu.max": "100000 0\n"}, None),
    ({"cpu.max": "nothing that is known\n"}, None),
    ({"cpu.max": "200000\n"}, None),
    (of_version_1(-1, 100_000), None),
    (of_version_1(300_000, 100_000), 3.0),
    ({"cpu/cpu.cfs_quota_us": "300000\n"}, None),
    ({"cpu.max": "max 100000\n", **of_version_1(300_000, 100_000)}, None),
]


@pytest.mark.parametrize(("files", "allowed"), TOLD, ids=lambda told: str(told) if not isinstance(told, dict) else "")
def test_what_a_container_is_allowed(files: dict[str, str], allowed: float | None, tmp_path: Path) -> None:
    assert allowed_cores(cgroup(tmp_path, files)) == allowed


@pytest.mark.parametrize(
    ("cores", "allowed", "threads"),
    [(64, "200000", 2), (64, "150000", 1), (64, "50000", 1), (2, "1600000", 2), (8, "max", 8), (1, "max", 1)],
)
def test_threads_follow_whichever_is_less(
    cores: int, allowed: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "visible_cores", lambda: cores)
    assert available_threads(cgroup(tmp_path, {"cpu.max": f"{allowed} 100000\n"})) == threads


def test_there_is_always_a_thread() -> None:
    assert 1 <= available_threads() <= visible_cores() <= (os.cpu_count() or 1)
