"""Times are integers in UTC, and nothing guesses a time zone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.clock import ManualClock, SystemClock, format_iso8601, parse_iso8601


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999))
def test_writing_and_reading_loses_no_microsecond(us: int) -> None:
    assert parse_iso8601(format_iso8601(us)) == us


def test_an_offset_is_honoured_and_its_absence_refused() -> None:
    assert parse_iso8601("2026-03-02T02:00:00+02:00") == parse_iso8601("2026-03-02T00:00:00Z")
    with pytest.raises(ValueError, match="no offset"):
        parse_iso8601("2026-03-02T00:00:00")


def test_a_time_that_cannot_be_written_is_not_read() -> None:
    assert format_iso8601(parse_iso8601("0001-01-01T00:00:00+00:00")).startswith("0001-01-01")
    with pytest.raises(OverflowError):
        parse_iso8601("0001-01-01T00:00:00+14:00")
    with pytest.raises(ValueError, match="beyond the years"):
        format_iso8601(parse_iso8601("9999-12-31T23:59:59.999999+00:00") + 1)


def test_a_manual_clock_moves_only_by_hand_and_also_backwards() -> None:
    clock = ManualClock(us=5_000_000)
    clock.advance(-2)
    assert (clock.now_us(), clock.monotonic()) == (3_000_000, 3.0)


def test_the_system_clock_counts_microseconds_since_the_epoch() -> None:
    assert parse_iso8601("2024-01-01T00:00:00Z") < SystemClock().now_us() < parse_iso8601("2100-01-01T00:00:00Z")
