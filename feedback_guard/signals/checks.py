"""The conformance suite of signals: what every detector must do, whatever it looks for.

::

    from feedback_guard.signals.checks import Subject, all_checks

    @pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
    def test_conforms(check):
        check.run(Subject(MySignal))

A check raises `CheckFailedError` with a sentence. A subject fits its signal once on made-up contributions; share one
between checks to save time. A signal whose memory is bounded by a number calls it `capacity` in the values of its
state; the check of the bound lowers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from feedback_guard.signals.checks_of_findings import (
    broken_vectors_are_refused,
    finite_in_finite_out,
    honest_are_calibrated,
    messages_repeat_nothing,
    odd_texts_are_judged,
    order_of_fields_is_no_matter,
    warm_up_is_stated,
)
from feedback_guard.signals.checks_of_memory import (
    inputs_are_left_alone,
    learning_later_is_learning,
    restore_equals_original,
    same_seed_same_state,
    score_is_pure,
    slow_poisoning_widens_nothing,
    state_is_bounded,
    state_is_data,
    states_are_apart,
    together_as_alone,
)
from feedback_guard.signals.subject import CheckFailedError, Subject, round_trip, same_state, size_bytes

__all__ = ["Check", "CheckFailedError", "Subject", "all_checks", "round_trip", "same_state", "size_bytes"]


@dataclass(frozen=True, slots=True)
class Check:
    """One named demand on a signal."""

    run: Callable[[Subject], None]

    @property
    def name(self) -> str:
        """The demand, in words."""
        return self.run.__name__


def all_checks() -> tuple[Check, ...]:
    """Every check, cheap ones first."""
    return tuple(
        Check(run)
        for run in (
            state_is_data,
            finite_in_finite_out,
            broken_vectors_are_refused,
            odd_texts_are_judged,
            score_is_pure,
            together_as_alone,
            order_of_fields_is_no_matter,
            messages_repeat_nothing,
            restore_equals_original,
            states_are_apart,
            inputs_are_left_alone,
            learning_later_is_learning,
            warm_up_is_stated,
            same_seed_same_state,
            honest_are_calibrated,
            slow_poisoning_widens_nothing,
            state_is_bounded,
        )
    )
