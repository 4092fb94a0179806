"""What a campaign knows of itself stays small and correct, however many join it."""

from __future__ import annotations

import pytest

from feedback_guard.evidence import campaigns
from feedback_guard.evidence.campaigns import Campaign


def test_accounts_are_told_apart_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "MAX_ACCOUNTS", 50)
    found = Campaign("campaign-1", 0, log_e=20.0)
    found.share(("word", 1))
    for n in range(40):
        found.join("positive", n % 20)
    assert found.sentence().startswith("40 contributions of 20 accounts share a phrase and teach positive")
    for n in range(1_000):
        found.join("negative", n)
    assert len(found.senders) == 50
    assert "1040 contributions of 50 or more accounts" in found.sentence()


def test_near_copies_alone_are_told_as_such() -> None:
    found = Campaign("family-1", 0)
    found.share(("family-", 3))
    for n in range(4):
        found.join("approve", n)
    assert found.sentence() == "4 contributions of 4 accounts are near copies and teach approve"
    found.share(("sender", 5))
    assert "share a sender and teach approve against" in found.sentence()
