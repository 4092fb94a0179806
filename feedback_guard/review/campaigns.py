"""The rules of a decision on a whole campaign, whichever way it is made: by a page, the JSON API, or a command.

1. It is made on one version of the campaign, and on the members that were there when it was shown. Later ones wait on.
2. It is about held members, all or a part; what somebody decided by herself is not overwritten.
3. Nobody decides on what came from her own name: such members are left for a colleague, and counted.
4. It is carried out in batches, and goes on where it ended whatever happens in between.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import Final

from feedback_guard.bulk import LEFT_AFTER_US, carry_on
from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.review import bounds
from feedback_guard.review.desk import Desk, read
from feedback_guard.review.problems import Refused
from feedback_guard.review.rulings import LATE, check_note, unavailable
from feedback_guard.store import campaign_reads
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection, read_decision
from feedback_guard.store.campaign_reads import StoredCampaign
from feedback_guard.terms import terms_in

log = logging.getLogger(__name__)

NO_CAMPAIGN: Final = "There is no such campaign."
_CAMPAIGN: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{bounds.MAX_CAMPAIGN_CHARS}}}")


def is_campaign_id(text: str) -> bool:
    """Whether a text can be a campaign's identifier at all."""
    return _CAMPAIGN.fullmatch(text) is not None


async def find_campaign(desk: Desk, name: str) -> StoredCampaign:
    """Find a campaign.

    Raises
    ------
    Refused
        With 404 if there is none.
    """
    found = (
        await read(desk, lambda connection: campaign_reads.read_campaign(connection, name))
        if is_campaign_id(name)
        else None
    )
    if found is None:
        raise Refused(404, NO_CAMPAIGN)
    return found


async def find_decision(desk: Desk, name: str, ident: int) -> CampaignDecision:
    """Find a decision on a campaign.

    Raises
    ------
    Refused
        With 404 if there is none.
    """
    found = await read(desk, lambda connection: read_decision(connection, ident))
    if found is None or found.campaign != name:
        raise Refused(404, "There is no such decision on this campaign.")
    return found


def from_odds(odds: float) -> Selection:
    """Members that contradict their content with at least these odds.

    Examples
    --------
    >>> from_odds(1.0).least_milli
    0
    """
    return Selection(least_milli=math.ceil(1_000 * math.log(odds)))


def below_odds(odds: float) -> Selection:
    """Members that contradict their content with less than these odds: below 1 to 1 they fit it.

    Examples
    --------
    >>> below_odds(1.0).most_milli
    -1
    """
    return Selection(most_milli=math.ceil(1_000 * math.log(odds)) - 1)


async def rule_campaign(
    desk: Desk,
    name: str,
    selection: Selection,
    *,
    approve: bool,
    moderator: str,
    note: str = "",
    version: int | None = None,
    fence: int | None = None,
) -> CampaignDecision:
    """Make a decision on members of a campaign. `Carrier` or `carry_out` then carries it out.

    Parameters
    ----------
    version, fence
        The campaign's, as they were shown; None decides on whatever is there.

    Raises
    ------
    Refused
        404 there is no such campaign; 409 somebody was faster, or no member is left for it; 422 the note is too long;
        503 the store did not take it.
    """
    check_note(note)
    await find_campaign(desk, name)
    try:
        made = await desk.store.run(
            lambda tx: tx.decide_campaign(
                name,
                selection,
                approve=approve,
                moderator=moderator,
                note=note,
                version=version,
                fence=fence,
                now_us=tx.now_us(),
            )
        )
    except TransitionError:
        raise Refused(
            409,
            "Somebody decided on this campaign after you opened it, a decision on it is still being carried out, or no "
            "member is left for this one. Look at it again.",
            title=LATE,
        ) from None
    except StoreError:
        raise unavailable() from None
    desk.metrics.campaign_decision("approve" if approve else "deny")
    return made


async def carry_out(desk: Desk, made: CampaignDecision, *, seconds: float = math.inf) -> CampaignDecision:
    """Carry out a decision, for so long at most; returns how far it got.

    Raises
    ------
    StoreError
        If a batch could not be done. What was done before stays done.
    """
    until = desk.clock.monotonic() + seconds
    while made.running and desk.clock.monotonic() < until:
        before = made.n_moved
        made = await carry_on(desk.store, made.id, desk.policy.limits, terms_in(desk.policy))
        if made.n_moved > before:
            desk.noticed()
    return made


class Carrier:
    """Carries out decisions of the pages and of the JSON API: a moment while she waits, the rest behind her back.

    Parameters
    ----------
    desk
        Where.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def start(self, made: CampaignDecision) -> CampaignDecision:
        """Carry out a decision; returns how far it got until now."""
        try:
            made = await carry_out(self._desk, made, seconds=bounds.WAIT_SECONDS)
        except StoreError:
            log.exception("a decision on a campaign is not carried out yet; it goes on later")
            return made
        if made.running:
            self._behind(made)
        return made

    def resume(self, made: CampaignDecision) -> None:
        """Go on with a decision that nobody has gone on with for a while."""
        if made.running and made.moved_us <= self._desk.store.now_us() - LEFT_AFTER_US:
            self._behind(made)

    def _behind(self, made: CampaignDecision) -> None:
        if made.id not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._rest(made))
            self._tasks[made.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(made.id, None))

    async def _rest(self, made: CampaignDecision) -> None:
        try:
            await carry_out(self._desk, made)
        except StoreError:
            log.exception("a decision on a campaign is not carried out yet; it goes on later")
