"""What a moderator is told of a campaign."""

from __future__ import annotations

from feedback_guard.evidence.campaigns import Campaign
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.telling import SharedFacet, summarise


def test_how_many_honest_ones_share_a_campaign_is_told_by_a_phrase_that_was_counted_and_never_by_a_form() -> None:
    """How many trusted texts have a form changes with what is learnt, so the book does not know it."""
    campaign = Campaign("campaign-1", 0, log_e=12.0)
    form, phrase = SharedFacet(FORM, "/ when it", 90, 0, 0.6), SharedFacet("pair", "^ when", 60, 39, 0.6)
    for shared, expected, trusted in (((phrase,), 79.0, [39]), ((phrase, form), None, [None, 39])):
        told = summarise(campaign, shared, n_seen=800, n_trusted=399)
        assert told.summary["expected"] == expected
        assert [each["trusted"] for each in told.summary["shares"]] == trusted  # type: ignore[union-attr,index,call-overload]
