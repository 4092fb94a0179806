"""`doctor` says how the model is divided among the cores, and warns where its threads have no room."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.cores import diagnose_cores
from feedback_guard.diagnosis import Health
from feedback_guard.embedding.available import available_threads
from feedback_guard.policy.embedding import EmbeddingPolicy


def told(cores: int, allowed: float | None = None, **policy: Any) -> list[tuple[Health, str]]:
    found = list(diagnose_cores(EmbeddingPolicy.model_validate(policy), visible=cores, allowed=allowed))
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
    ("allowed", "said"),
    [
        (8.0, "in 2 processes, with 4 threads each; there are 8 cores"),
        (16.0, "in 2 processes, with 4 threads each; there are 8 cores"),
        (2.0, "in 2 processes, with 1 thread each; there are 8 cores, and the container is allowed the time of 2"),
        (1.5, "in 1 process, with 1 thread; there are 8 cores, and the container is allowed the time of 1.5"),
        (0.5, "in 1 process, with 1 thread; there are 8 cores, and the container is allowed the time of 0.5"),
    ],
)
def test_the_model_is_divided_by_what_a_container_is_allowed(allowed: float, said: str) -> None:
    assert told(8, allowed) == [(Health.OK, f"each worker runs the model {said}")]


@pytest.mark.parametrize(
    ("allowed", "policy", "said"),
    [
        (2.0, {"processes": 4}, "2 cores; .*`embedding.processes: 2` and `embedding.threads: 1`$"),
        (1.5, {"processes": 1, "threads": 2}, "1.5 cores; .*`embedding.processes: 1` and `embedding.threads: 1`$"),
        (1.0, {"isolated": False, "threads": 8}, "1 core; .*`embedding.threads: 1`$"),
    ],
)
def test_more_threads_than_a_container_is_allowed_are_a_warning(
    allowed: float, policy: dict[str, Any], said: str
) -> None:
    (health, _), (worse, message) = told(8, allowed, **policy)
    assert (health, worse) == (Health.OK, Health.WARNING)
    assert re.search(f"is allowed the time of {said}", message), message


def test_an_allowance_of_more_cores_than_there_are_makes_no_room() -> None:
    (_, _), (health, message) = told(8, 16.0, processes=3, threads=3)
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
