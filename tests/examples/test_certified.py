"""The example of certified predictions, on a part of its data."""

from __future__ import annotations

from certified.run import measure


def test_certified_accuracy_falls_with_the_number_of_hostile_accounts() -> None:
    found = measure(partitions=4, accounts=60, questions=800)
    assert sorted(found) == [0, 1, 2]
    assert 0.35 < found[0] <= 1.0
    assert found[0] > found[1] > found[2]
    assert found == measure(partitions=4, accounts=60, questions=800)
