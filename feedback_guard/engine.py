"""What judging needs, loaded once: the model, the detectors, the rules. Every door of the guard uses the same."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from feedback_guard.assess import Assessor
from feedback_guard.contribution import Contribution
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.interface import Embedder
from feedback_guard.embedding.several import make_live_embedder
from feedback_guard.evidence.baseline import Baseline, load
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.learning.memory import Memory
from feedback_guard.limits.contents import Contents
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.limits.probing import Probing
from feedback_guard.limits.variants import Variants
from feedback_guard.policy.answers import Acknowledge
from feedback_guard.policy.embedding import EmbeddingPolicy
from feedback_guard.policy.schema import Mode, Policy
from feedback_guard.policy.snapshot import SnapshotPolicy
from feedback_guard.reputation import Limiter
from feedback_guard.settle import Settler
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.near_duplicate import NearDuplicate
from feedback_guard.signals.novelty import Novelty

CHUNK: Final = 256
"""Contributions that are embedded together; they are judged one by one, in order."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that judge, under one policy and one baseline.

    Parameters
    ----------
    batcher
        Owns the embedding model.
    memory
        The detectors' state.
    assessor
        From observations to proposals.
    settler
        From proposals to verdicts.
    enforcing
        Whether verdicts are acted upon: the policy says so and there is a baseline.
    snapshot
        What a snapshot may hold.
    mature_after_us
        Microseconds from acceptance until it may.
    limiter
        Multiplies weights by reputation; None where the policy does not ask for it.
    conceals
        Whether every route of the policy answers uniformly, so that `replay`, which knows of no route, charges alike.
    """

    batcher: Batcher
    memory: Memory
    assessor: Assessor
    settler: Settler
    enforcing: bool
    snapshot: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    mature_after_us: int = 0
    limiter: Limiter | None = None
    conceals: bool = False

    @classmethod
    def assemble(cls, policy: Policy, digest: str, batcher: Batcher, baseline: Baseline | None) -> Self:
        """Put the parts together around a running batcher.

        The process's BLAS is limited to one thread from here on: scoring multiplies one vector at a time, and the
        idle threads of a parallel BLAS spin on the cores that the embedding model needs.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(limits=1, user_api="blas")
        enforcing = policy.mode is Mode.ENFORCE and baseline is not None
        limiter = None
        if policy.reputation.enabled:
            limiter = Limiter.of(policy, baseline, fingerprint=batcher.embedder.fingerprint)
        memory = Memory(policy, baseline)
        background = Background.from_state(baseline.evidence) if baseline is not None else None
        return cls(
            batcher=batcher,
            memory=memory,
            assessor=Assessor(
                policy.signals,
                memory.signals,
                labels=baseline.labels if baseline else frozenset(),
                fail_open=policy.failure.fail_open,
                evidence=memory.evidence,
                contents=_contents(policy, memory, background),
                after_denial=policy.evidence.after_denial,
                variants=_variants(policy, background),
                changed=memory.changed,
                forgiven_weight=policy.drift.forgiven_weight,
            ),
            settler=Settler(
                policy.limits,
                digest,
                baseline.digest if baseline else None,
                not enforcing,
                _newcomers(policy, background, limiter),
                Probing(policy.probing),
            ),
            enforcing=enforcing,
            snapshot=policy.snapshot,
            mature_after_us=policy.staging.mature_after,
            limiter=limiter,
            conceals=enforcing and {route.acknowledge for route in policy.routes} == {Acknowledge.UNIFORM},
        )

    @classmethod
    def load(
        cls,
        policy: Policy,
        digest: str,
        *,
        embedder: Embedder | None = None,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> Self:
        """Load model and baseline as the policy names them.

        Raises
        ------
        GuardError
            If the model or the baseline is not what the policy pins; nothing keeps running then.
        """
        batcher = start_batcher(policy.embedding, embedder=embedder, on_batch=on_batch)
        try:
            baseline = None
            if policy.baseline.path is None:
                log.warning("no baseline: the guard only observes; make one with `feedback-guard baseline build`")
            else:
                baseline = load(
                    Path(policy.baseline.path), fingerprint=batcher.embedder.fingerprint, digest=policy.baseline.digest
                )
            return cls.assemble(policy, digest, batcher, baseline)
        except BaseException:
            batcher.close()
            raise


def _contents(policy: Policy, memory: Memory, background: Background | None) -> Contents | None:
    """What reads contributions for the policy's budgets on what is said; None if there is none."""
    if background is None or not any(limit.shared for limit in policy.limits):
        return None
    copies, novelty = memory.signals.get(NearDuplicate.name), memory.signals.get(Novelty.name)
    return Contents(
        policy.limits,
        background,
        copies.families if isinstance(copies, NearDuplicate) else None,
        novelty.reference if isinstance(novelty, Novelty) else None,
    )


def _variants(policy: Policy, background: Background | None) -> Callable[[Observation], tuple[str, ...]] | None:
    """What names near copies, where the policy bounds them; exact copies count as well."""
    if background is None or policy.probing.near_copies is None:
        return None
    return Variants(f"{background.number('probing'):016x}".encode("ascii")).of


def _newcomers(policy: Policy, background: Background | None, limiter: Limiter | None) -> Newcomers | None:
    """Who is new, where the policy asks. The key of the lottery is made of the trusted set, which is not public."""
    if background is None:
        return None
    asked = policy.newcomers.pool is not None or any(limit.supporters is not None for limit in policy.limits)
    standing = limiter.standing if limiter is not None else None
    return Newcomers(policy.newcomers, background.key, standing) if asked else None


def start_batcher(
    policy: EmbeddingPolicy,
    *,
    embedder: Embedder | None = None,
    on_batch: Callable[[int, float], None] | None = None,
) -> Batcher:
    """Start the owner of the embedding model. The model is loaded here, after any fork, or in a process of its own."""
    batcher = Batcher(
        embedder if embedder is not None else functools.partial(make_live_embedder, policy),
        max_batch=policy.max_batch,
        max_wait_us=policy.max_wait,
        queue_size=policy.queue_size,
        on_batch=on_batch,
    )
    batcher.start()
    return batcher


def observe_all(
    batcher: Batcher, contributions: Sequence[Contribution], on_progress: Callable[[int], object] | None = None
) -> list[Observation]:
    """Observe a trusted set, a portion at a time: the same contributions give the same observations.

    Parameters
    ----------
    on_progress
        Called with the number of contributions that are done.
    """
    observations: list[Observation] = []
    for start in range(0, len(contributions), CHUNK):
        observations += observe_now(batcher, contributions[start : start + CHUNK])
        if on_progress is not None:
            on_progress(len(observations))
    return observations


def observe_now(batcher: Batcher, contributions: Sequence[Contribution]) -> list[Observation]:
    """Observe contributions in the calling thread: for trusted sets and `replay`.

    The same contributions in the same call give the same observations.
    """
    texts = [canonical_texts(item) for item in contributions]
    vectors = iter(batcher.embed_now([text.text for fields in texts for text in fields.values()]))
    return [
        Observation(item, fields, {name: next(vectors) for name in fields})
        for item, fields in zip(contributions, texts, strict=True)
    ]
