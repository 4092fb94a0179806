"""What a valid policy leaves open: warnings that `feedback-guard policy check` and `doctor` print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from itertools import combinations, product
from typing import Final

from feedback_guard.contribution import Kind
from feedback_guard.evidence.reach import notes_on, price
from feedback_guard.policy.answers import Acknowledge
from feedback_guard.policy.embedding import Backend
from feedback_guard.policy.identity import TrustedHops
from feedback_guard.policy.limits import WORDED, default_rare
from feedback_guard.policy.replay import CredentialMode
from feedback_guard.policy.routes import OnHold, RoutePolicy
from feedback_guard.policy.schema import Mode, Policy

_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


def _reputation(policy: Policy) -> Iterator[str]:
    about = policy.reputation
    if not about.enabled:
        return
    if about.audit is None:
        yield (
            "reputation.audit: there is none, so reputation moves by moderators' decisions only, and whoever is never "
            "held stays a newcomer; make one with `feedback-guard reputation audit`"
        )
    elif about.audit_digest is None:
        yield "reputation.audit_digest: the audit set is not pinned; `feedback-guard reputation audit` prints a digest"
    if about.floor > 0.0 and policy.newcomers.pool is None:
        yield (
            f"reputation.floor: everybody teaches with {about.floor:.0%} of the weight without reputation, and no "
            "newcomers.pool bounds how much that is"
        )


def needed_trusted(policy: Policy, kind: Kind = Kind.LABEL) -> dict[str, int]:
    """How many vetted contributions of a kind each signal needs before it can hold one by itself.

    A p-value calibrated on n contributions is never below 1 / (n + 1), times what the signal pays for having looked
    more than once, and a signal holds at a p-value of at most `false_hold_rate` times its share. Near copies are not
    among them: their p-values come from a model of chance.

    Examples
    --------
    >>> needed_trusted(Policy())["disagreement"]
    199
    """
    rate = policy.signals.false_hold_rate
    return {
        name: math.ceil(price(name, kind) / (rate * share) - 1e-6) - 1
        for name, share in policy.signals.shares.items()
        if share > 0 and name != "near_duplicate"
    }


def reach(policy: Policy, counts: Mapping[str, int], labels: Mapping[str, int]) -> list[str]:
    """Say what a trusted set cannot support under a policy.

    Parameters
    ----------
    counts
        Trusted contributions of each kind.
    labels
        Trusted contributions of each label.

    Returns
    -------
    list of str
        A sentence each; empty if nothing is amiss.
    """
    notes = list(notes_on(counts, labels, policy.signals))
    for kind, n in sorted(counts.items()):
        needed = needed_trusted(policy, Kind(kind)).get("obfuscation", 0)
        if n < needed:
            notes.append(
                f"{n} trusted {kind}s: obfuscation alone cannot hold one at a false-hold rate of "
                f"{policy.signals.false_hold_rate:g}; {needed} are needed"
            )
    n_trusted = sum(counts.values())
    if default_rare(n_trusted) == 0:
        notes += [
            f"{n_trusted} trusted contributions: what is absent from so few need not be rare, so the budget "
            f"{limit.name} charges nothing; 300 are needed, or `rare` in the policy"
            for limit in policy.limits
            if limit.facet in WORDED and limit.rare is None
        ]
    return notes


def check_policy(policy: Policy) -> list[str]:
    """Look for what the schema allows and an operator may not want.

    Parameters
    ----------
    policy
        Validated.

    Returns
    -------
    list of str
        A sentence each, beginning with the key; empty if nothing is amiss.
    """
    return [
        *_protection(policy),
        *_limits(policy),
        *_snapshot(policy),
        *_identity(policy),
        *_reputation(policy),
        *_routes(policy.routes),
        *_replays(policy.routes),
        *_answers(policy),
        *_review(policy),
    ]


def _protection(policy: Policy) -> Iterator[str]:
    enforce = policy.mode is Mode.ENFORCE
    if enforce and policy.baseline.path is None:
        yield (
            "baseline.path: none is set, so the guard only observes although mode is enforce;"
            " make one with `feedback-guard baseline build`"
        )
    if policy.failure.fail_open:
        yield (
            "failure.fail_open: true lets through what could not be scored;"
            " whoever can make the guard fail can teach the model anything"
        )
    if policy.embedding.backend is Backend.UNSAFE_HASHING:
        yield "embedding.backend: unsafe-hashing-for-tests is no model; it protects nothing"
    if policy.staging.mature_after == 0:
        yield "staging.mature_after: 0s learns at once; nothing accepted by mistake can be pulled back in time"


def _limits(policy: Policy) -> Iterator[str]:
    limits = policy.limits
    if not limits:
        yield "limits: there are none; nothing bounds what one contributor may teach"
        return
    weights = [limit for limit in limits if limit.measure == "weight" and limit.facet == "contributor"]
    if not weights:
        yield "limits: no contributor has a weight limit; rates bound how often somebody teaches, not how much"
    elif all(limit.per is not None for limit in weights):
        yield "limits: no contributor has a lifetime limit (weight without `per`); patience is not bounded"
    if policy.identity.missing == "anonymous" and not any(limit.facet == "anonymous" for limit in limits):
        yield (
            "limits: identity.missing lets contributions in without a contributor, and no anonymous limit bounds them;"
            " they share the budget of one contributor"
        )
    groups = set(policy.identity.group_names)
    for index, limit in enumerate(limits):
        group = limit.facet.removeprefix("group:")
        if group != limit.facet and group not in groups:
            known = f"those that identity sets are {', '.join(sorted(groups))}" if groups else "identity sets none"
            yield f"limits[{index}].facet: no contribution over HTTP has the group {group!r}; {known}"
        if limit.facet == "family" and not policy.signals.near_duplicate.share:
            yield (
                f"limits[{index}].facet: signals.near_duplicate, which finds near copies, is off; only exact copies"
                " are a family"
            )
        if limit.supporters is not None and policy.newcomers.tenure == 0:
            yield f"limits[{index}].supporters: newcomers.tenure is 0s, so any account is a supporter at once"
        if limit.burst is not None and limit.measure == "weight" and limit.burst < 1:
            yield f"limits[{index}].burst: below 1 no contribution of full weight ever fits"
        elif limit.amount < 1 and limit.burst is None:
            yield f"limits[{index}].amount: below 1 no whole contribution ever fits; set a longer `per`, or a burst"


def _snapshot(policy: Policy) -> Iterator[str]:
    caps, groups = policy.snapshot.caps, set(policy.identity.group_names)
    own = [cap for cap in caps if cap.facet == "contributor"]
    if not own:
        yield "snapshot.caps: none is on contributors; one of them may be all of what a model learns from"
    elif own[0].max_weight is None and own[0].max_count is None:
        yield (
            "snapshot.caps: the cap on contributors is a share alone; a few hundred documents can be enough for a"
            " backdoor whatever their share: set max_weight"
        )
    for index, cap in enumerate(caps):
        group = cap.facet.removeprefix("group:")
        if group != cap.facet and group not in groups:
            known = f"those that identity sets are {', '.join(sorted(groups))}" if groups else "identity sets none"
            yield f"snapshot.caps[{index}].facet: no contribution over HTTP has the group {group!r}; {known}"


def _identity(policy: Policy) -> Iterator[str]:
    identity = policy.identity
    if not identity.configured:
        outcome = "every contribution is anonymous" if identity.missing == "anonymous" else "every one is refused"
        yield f"identity: no source names the contributor, so {outcome}"
    if identity.jwt is not None and not identity.jwt.audience:
        yield "identity.jwt.audience: there is none; a token that was issued for another application is believed"
    sources: dict[str, TrustedHops | None] = {"header": identity.header}
    sources |= {f"groups.{name}": hops for name, hops in identity.groups.items()}
    for where, source in sources.items():
        for hop in source.hops if source else ():
            if hop != "unix" and ip_network(hop).prefixlen == 0:
                yield f"identity.{where}.hops: {hop} trusts the whole internet to say who it is"


def _routes(routes: tuple[RoutePolicy, ...]) -> Iterator[str]:
    if not routes:
        yield "routes: there are none; over HTTP nothing is judged"
    for first, second in combinations(routes, 2):
        if not set(first.methods) & set(second.methods):
            continue
        for ours, theirs in product(first.all_paths, second.all_paths):
            if _overlap(ours, theirs):
                yield (
                    f"routes: {first.name} ({ours}) and {second.name} ({theirs}) take some of the same requests;"
                    " a path without parameters goes first, then the one that stands first"
                )


def _answers(policy: Policy) -> Iterator[str]:
    for route in policy.routes:
        where = f"routes: {route.name}"
        if route.acknowledge is Acknowledge.UNIFORM and policy.mode is Mode.OBSERVE:
            yield f"{where}: acknowledge: uniform hides nothing while mode is observe: the application answers"
        if route.duplicates.window and policy.identity.missing == "anonymous":
            yield f"{where}: duplicates.window does not apply to contributions whose contributor nobody names"


def _replays(routes: tuple[RoutePolicy, ...]) -> Iterator[str]:
    for route in routes:
        if route.on_hold is OnHold.HOLD:
            continue
        if route.credentials is not CredentialMode.NONE:
            yield f"routes.{route.name}.credentials: nothing is held with `on_hold: pass`, so none are ever used"
        if route.idempotent:
            yield f"routes.{route.name}.idempotent: nothing is held with `on_hold: pass`, so nothing is ever repeated"


def _overlap(first: str, second: str) -> bool:
    """Whether some path fits both patterns, segment by segment."""
    ours, theirs = first.split("/"), second.split("/")
    return len(ours) == len(theirs) and all(
        a == b or (_PARAMETER.search(a) is not None) or (_PARAMETER.search(b) is not None)
        for a, b in zip(ours, theirs, strict=True)
    )


def _review(policy: Policy) -> Iterator[str]:
    if not policy.review.moderators:
        yield (
            "review.moderators: there are none; held contributions wait for the command line,"
            " `feedback-guard review token` makes somebody a token"
        )
    if not policy.review.secure_cookies:
        yield "review.secure_cookies: false sends moderators' sessions over unencrypted connections"
