"""`doctor` says how the model is divided among the cores, and warns where its threads have no room."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.cores import diagnose_cores
from feedback_guard.diagnosis import Health
from feedback_guard.embedding.loading import available_threads
from feedback_guard.policy.embedding import EmbeddingPolicy

NOWHERE = Path("/nowhere")
"""No container limits anything."""


def told(cores: int, cpu_max: Path = NOWHERE, **policy: Any) -> list[tuple[Health, str]]:
    found = list(diagnose_cores(EmbeddingPolicy.model_validate(policy), visible=cores, cpu_max=cpu_max))
    assert {each.check for each in found} == {"cores"}
    return [(each.health, each.message) for each in found]


@pytest.mark.parametrize(
    ("cores", "policy", "said"),
    [
        (1, {}, "in 1 process, with 1 thread; there is 1 core"),
        (2, {}, "in 2 processes, with 1 thread each; there are 2 cores"),
        (8, {}, "in 2 processes, with 4 threads each; there are 8 cores"),
        (8, {"processes": 4, "threads": 2}, "in 4 processes, with 2 threads each; there are 8 cores"),
        (8, {"processes": 1}, "in 1 process, with 8 threads; there are 8 cores"),
        (8, {"processes": 3}, "in 3 processes, with 2 threads each; there are 8 cores"),
        (4, {"isolated": False}, "in its own process, with 4 threads; there are 4 cores"),
    ],
)
def test_a_division_that_has_room_is_told(cores: int, policy: dict[str, Any], said: str) -> None:
    assert told(cores, **policy) == [(Health.OK, f"each worker runs the model {said}")]


@pytest.mark.parametrize(
    ("cores", "policy", "threads", "remedy"),
    [
        (2, {"processes": 3}, 3, "set `embedding.processes: 2` and `embedding.threads: 1`"),
        (8, {"processes": 3, "threads": 3}, 9, "set `embedding.processes: 2` and `embedding.threads: 4`"),
        (1, {"processes": 2}, 2, "set `embedding.processes: 1` and `embedding.threads: 1`"),
        (2, {"threads": 4}, 4, "set `embedding.processes: 2` and `embedding.threads: 1`"),
        (2, {"isolated": False, "threads": 3}, 3, "set `embedding.threads: 2`"),
    ],
)
def test_more_threads_than_cores_are_a_warning(cores: int, policy: dict[str, Any], threads: int, remedy: str) -> None:
    (_, _), (health, message) = told(cores, **policy)
    assert health is Health.WARNING
    assert message == (
        f"the model has {threads} threads: only {cores} can run at the same time, and the others wait; {remedy}"
    )


@pytest.mark.parametrize(
    ("cpu_max", "policy", "said"),
    [
        ("max 100000\n", {}, None),
        ("800000 100000\n", {}, None),
        ("50000 100000\n", {"processes": 1, "threads": 1}, None),  # one thread cannot be fewer
        ("200000 100000\n", {}, "2 cores; .*`embedding.processes: 2` and `embedding.threads: 1`$"),
        ("150000 100000\n", {}, "1.5 cores; .*`embedding.processes: 1` and `embedding.threads: 1`$"),
        ("150000 100000\n", {"processes": 1, "threads": 2}, "1.5 cores; "),
        ("100000 100000\n", {}, "1 core; .*`embedding.processes: 1` and `embedding.threads: 1`$"),
        ("nothing that is known\n", {}, None),
    ],
)
def test_a_container_that_is_allowed_less_than_it_sees_is_a_warning(
    cpu_max: str, policy: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(cpu_max)
    (health, _), *warnings = told(8, file, **policy)
    assert health is Health.OK
    if said is None:
        assert not warnings
    else:
        ((health, message),) = warnings
        assert health is Health.WARNING
        assert re.search(f"is allowed the time of {said}", message), message


def test_an_allowance_of_more_cores_than_there_are_makes_no_room(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("1600000 100000\n")
    (_, _), (health, message) = told(8, tmp_path / "cpu.max", processes=3, threads=3)
    assert health is Health.WARNING
    assert "only 8 can run" in message


def test_doctor_says_it_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cores = tmp_path / "policy.yaml", available_threads()
    store = f"store: {{url: 'sqlite:///{tmp_path}/guard.db'}}\n"
    file.write_text(f"{store}embedding: {{processes: {cores}, threads: 3}}\n")
    monkeypatch.setenv("COLUMNS", "400")
    assert run(["doctor", "--policy", str(file), "--no-load-model"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"cores warning the model has {3 * cores} threads:" in said


def test_what_is_told_to_fit_has_room() -> None:
    for cores in (1, 2, 3, 5, 8, 64):
        processes, threads = EmbeddingPolicy().divide(cores)
        assert len(told(cores, processes=processes, threads=threads)) == 1
