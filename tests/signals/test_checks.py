"""The conformance suite notices each fault, and passes a signal that has none."""

from __future__ import annotations

import functools

import pytest

from feedback_guard.signals.checks import Check, CheckFailedError, Subject, all_checks
from feedback_guard.signals.interface import Signal
from tests.signals.plain import BROKEN, Plain

CHECKS = {check.name: check for check in all_checks()}


@functools.cache
def _subject(signal: type[Signal]) -> Subject:
    return Subject(signal)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
def test_a_sound_signal_passes(check: Check) -> None:
    check.run(_subject(Plain))


@pytest.mark.parametrize(
    ("name", "signal"),
    [(name, signal) for name, signals in BROKEN.items() for signal in signals],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_broken_signal_fails(name: str, signal: type[Signal]) -> None:
    with pytest.raises((CheckFailedError, ZeroDivisionError)):
        CHECKS[name].run(_subject(signal))


def test_every_check_has_a_signal_that_fails_it() -> None:
    assert set(BROKEN) == set(CHECKS)
