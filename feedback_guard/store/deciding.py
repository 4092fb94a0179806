"""What moderators can do to the record, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from feedback_guard.limits.reputation import Terms
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store import campaign_decisions, decisions, drift_alarms, resolutions
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection
from feedback_guard.store.drift_alarms import DriftAlarm, DriftEntry
from feedback_guard.store.inside import Inside
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Resolution


class Deciding(Inside):
    """Decisions on submissions and on campaigns, and resolutions of requests that did not plainly arrive."""

    def decide(
        self,
        submission_id: str,
        *,
        approve: bool,
        moderator: str,
        note: str = "",
        version: int | None = None,
        now_us: int,
        limits: Sequence[LimitPolicy] = (),
        reputation: Terms | None = None,
    ) -> StoredSubmission:
        """Record a moderator's decision on everything in a submission that it can still change.

        Parameters
        ----------
        version
            The version that the moderator saw; None decides on whatever is there.
        limits
            The policy's limits. What is approved charges its influence to them by force, once.
        reputation
            The constants of reputation: the decision moves what its contributors have earned. None moves nothing.

        Returns
        -------
        StoredSubmission
            As it is afterwards.

        Raises
        ------
        TransitionError
            If it is unknown, the version is stale, or the decision cannot follow its present state.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return decisions.decide(
            self._group,
            self._group.budgets,
            submission_id,
            decisions.Decided(approve, moderator, note, version, now_us, reputation=reputation),
            limits,
        )

    def resolve(
        self,
        submission_id: str,
        resolution: Resolution,
        *,
        moderator: str,
        note: str = "",
        version: int | None = None,
        now_us: int,
    ) -> StoredSubmission:
        """Record what a moderator says about a request that did not plainly arrive.

        Parameters
        ----------
        version
            The version that the moderator saw; None speaks of whatever is there.

        Returns
        -------
        StoredSubmission
            As it is afterwards.

        Raises
        ------
        TransitionError
            If it is unknown, the version is stale, that is no way on from its state, or there is nothing to send.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return resolutions.resolve(
            self._group, submission_id, resolutions.Resolved(resolution, moderator, note, version, now_us)
        )

    def decide_campaign(
        self,
        name: str,
        selection: Selection,
        *,
        approve: bool,
        moderator: str,
        note: str = "",
        version: int | None = None,
        fence: int | None = None,
        now_us: int,
    ) -> CampaignDecision:
        """Record a decision on members of a campaign; `carry_on_campaign` then moves them, a batch at a time.

        Parameters
        ----------
        version
            The version of the campaign that the moderator saw; None decides on whatever is there.
        fence
            Number of the last member that she saw; later ones are not decided. None for all that are there.

        Raises
        ------
        TransitionError
            If there is no such campaign, the version is stale, another decision on it is under way, or nothing is left
            to decide.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return campaign_decisions.begin(
            self._group,
            name,
            selection,
            approve=approve,
            moderator=moderator,
            note=note,
            version=version,
            fence=fence,
            now_us=now_us,
        )

    def carry_on_campaign(
        self,
        decision: int,
        *,
        same_person: Callable[[str, str], bool],
        now_us: int,
        limits: Sequence[LimitPolicy] = (),
        most: int = campaign_decisions.BATCH,
        reputation: Terms | None = None,
    ) -> CampaignDecision:
        """Carry out the next batch of a decision on a campaign. Whoever does it, and however often, it is done once.

        Parameters
        ----------
        same_person
            Whether a contributor is the moderator; her own contributions are left alone.
        limits, reputation
            As for `decide`.
        most
            Most members in this batch.

        Returns
        -------
        CampaignDecision
            How far it got; call again while it is running.
        """
        return campaign_decisions.carry_on(
            self._group,
            self._group.budgets,
            decision,
            limits,
            same_person=same_person,
            now_us=now_us,
            most=most,
            reputation=reputation,
        )

    def raise_drift(self, alarm: DriftAlarm, *, now_us: int) -> bool:
        """Write down that the drift alarm was raised; returns whether nobody had done so before."""
        return drift_alarms.raise_alarm(self._group, alarm, now_us=now_us)

    def end_drift(self, baseline: str, *, now_us: int) -> bool:
        """Write down that a new baseline, named by its digest, ended an alarm of another one, if one stands."""
        return drift_alarms.end(self._group, baseline, now_us=now_us)

    def acknowledge_drift(self, *, moderator: str, note: str = "", seq: int | None = None, now_us: int) -> DriftEntry:
        """Record that somebody has looked at the drift alarm. If the stream stays away, it is raised again.

        Parameters
        ----------
        seq
            The ledger entry of the alarm that she saw; None acknowledges whichever stands.

        Raises
        ------
        TransitionError
            If none stands, or another one than she saw.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return drift_alarms.acknowledge(self._group, moderator=moderator, note=note, seq=seq, now_us=now_us)
