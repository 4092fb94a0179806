"""What the parts of the application have in common: what they show, and who may see it."""

from __future__ import annotations

from feedback_guard.review.campaigns import Carrier
from feedback_guard.review.desk import Desk
from feedback_guard.review.gate import Gate


class Part:
    """Pages, or resources of the JSON API.

    Parameters
    ----------
    desk
        What they show.
    gate
        Who may see it.
    """

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self._desk = desk
        self._gate = gate


class CampaignPart(Part):
    """The same, of campaigns.

    Parameters
    ----------
    desk, gate
        As of every part.
    carrier
        Carries out what is decided.
    """

    def __init__(self, desk: Desk, gate: Gate, carrier: Carrier) -> None:
        super().__init__(desk, gate)
        self._carrier = carrier
