"""Each signal x each check of the conformance suite."""

from __future__ import annotations

import functools

import pytest

from feedback_guard.signals.anomaly import Anomaly
from feedback_guard.signals.checks import Check, Subject, all_checks
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Signal
from feedback_guard.signals.near_duplicate import NearDuplicate
from feedback_guard.signals.novelty import Novelty
from feedback_guard.signals.obfuscation import Obfuscation

SIGNALS: list[type[Signal]] = [Disagreement, Novelty, Anomaly, NearDuplicate, Obfuscation]


@functools.cache
def _subject(signal: type[Signal]) -> Subject:
    return Subject(signal)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_conforms(signal: type[Signal], check: Check) -> None:
    check.run(_subject(signal))
