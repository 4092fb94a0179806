"""Each signal x each check of the conformance suite."""

from __future__ import annotations

import functools

import pytest

from feedback_guard.signals.checks import Check, Subject, all_checks
from feedback_guard.signals.interface import Signal
from feedback_guard.signals.registry import SIGNALS


@functools.cache
def _subject(signal: type[Signal]) -> Subject:
    return Subject(signal)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
@pytest.mark.parametrize("name", SIGNALS)
def test_conforms(name: str, check: Check) -> None:
    check.run(_subject(SIGNALS[name]))


def test_the_registry_names_each_signal_as_the_policy_does() -> None:
    from feedback_guard.policy.signals import SignalsPolicy

    assert set(SIGNALS) == set(SignalsPolicy().shares)
    assert all(signal.name == name for name, signal in SIGNALS.items())
