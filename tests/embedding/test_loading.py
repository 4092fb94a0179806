"""Loading a model changes nothing for an application that uses the same libraries."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from feedback_guard.embedding.loading import computes_bfloat16, quiet_and_offline


@pytest.mark.parametrize(
    ("described", "does"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16\nvmx flags\t: vnmi\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f\n", False),
        ("flags\t\t: fpu not_avx512_bf16_but_like_it\n", False),
        ("flags\t\t: fpu avx512_bf16\n\nflags\t\t: fpu\n", False),
        ("", False),
    ],
    ids=["avx512", "amx", "arm", "without", "a-like-name", "not-every-core", "says-nothing"],
)
def test_whether_the_processor_computes_in_bfloat16(described: str, does: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(described)
    assert computes_bfloat16(tmp_path / "cpuinfo") is does


def test_a_system_that_describes_no_processor(tmp_path: Path) -> None:
    assert not computes_bfloat16(tmp_path / "none")


@pytest.mark.model
def test_offline_inside_and_as_before_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from transformers.utils import logging as transformers_logging

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    logger = logging.getLogger("transformers")
    before = (logger.level, transformers_logging.is_progress_bar_enabled())
    with quiet_and_offline():
        assert constants.HF_HUB_OFFLINE
        assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
        assert logger.level == logging.ERROR
        assert not transformers_logging.is_progress_bar_enabled()
    assert not constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ
    assert os.environ["TRANSFORMERS_OFFLINE"] == "0"
    assert (logger.level, transformers_logging.is_progress_bar_enabled()) == before


_FRESH = """
import os, socket, sys
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.policy.embedding import EmbeddingPolicy
def refuse(*args, **kwargs):
    raise AssertionError("the loader reached for the network")
socket.getaddrinfo = socket.create_connection = refuse
embedder = make_embedder(EmbeddingPolicy(threads=1))
embedder.load()
import torch
assert torch.get_num_threads() == 1, torch.get_num_threads()
from huggingface_hub import constants
assert not constants.HF_HUB_OFFLINE
assert embedder.encode(embedder.split("where is my card?")).shape == (1, 384)
"""


@pytest.mark.model
def test_a_fresh_process_loads_silently_and_without_network() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FRESH], capture_output=True, check=False, env=environment
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


@pytest.mark.model
@pytest.mark.parametrize(("asked", "spins"), [(None, "0"), ("ACTIVE", "30000000000")])
def test_threads_of_the_model_sleep_while_they_wait_unless_the_operator_says_otherwise(
    asked: str | None, spins: str
) -> None:
    """Spinning threads take the cores from the rest of the process; OpenMP says at its start what it will do."""
    environment = os.environ | {"OMP_DISPLAY_ENV": "VERBOSE"}
    environment.pop("OMP_WAIT_POLICY", None)
    if asked is not None:
        environment["OMP_WAIT_POLICY"] = asked
    code = (
        "import os\n"
        "from feedback_guard.embedding.factory import make_embedder\n"
        "from feedback_guard.policy.embedding import EmbeddingPolicy\n"
        "make_embedder(EmbeddingPolicy()).encode(['a'])\n"
        "print(os.environ.get('OMP_WAIT_POLICY'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(asked)
    # Other libraries bring copies of OpenMP of their own; torch's is among the last to speak.
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)[-1] == spins
