"""In which order the files come, and how many processes share them: for the time that the whole suite takes.

And that no example of Hypothesis fails for the time that it takes on a slow machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

ROOT: Final = Path(__file__).parent
LONGEST: Final = (
    "evidence/test_honest_change.py",
    "test_docs.py",
    "examples/test_attack_demo.py",
    "middleware/test_deliveries_in_parallel.py",
    "gateway/test_serve.py",
    "review/test_browser.py",
    "faults/test_kills.py",
    "embedding/test_loading.py",
    "embedding/test_isolated.py",
    "limits/test_races.py",
    "examples/test_preset_on_the_stream.py",
    "signals/test_signals_conform.py",
    "evidence/kinds/test_kinds_conform.py",
    "redteam/test_siege.py",
    "redteam/test_redteam.py",
    "middleware/test_replay_processes.py",
    "examples/test_attack_demo_servers.py",
    "frameworks/test_conformance.py",
)
"""Files that take longest, and first begun leave nobody waiting for one process in the end; none needs this."""
_BESIDE: Final = 1
"""More processes than cores: tests wait much of the time, for servers, databases and other processes."""

settings.register_profile("patient", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return (os.cpu_count() or 1) + _BESIDE


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
