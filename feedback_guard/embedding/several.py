"""The model in several processes of its own, each with batches of its own under way.

Threads of one model wait for each other at every one of its hundreds of small operations, so when the guard takes a
core for a moment, all of them stand still. Processes do not wait for each other: whichever has a core reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from feedback_guard.clock import Clock
from feedback_guard.embedding.available import available_threads
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.interface import Embedder, Vectors
from feedback_guard.embedding.isolated import IsolatedEmbedder
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy


class SeveralProcesses:
    """An `Embedder` that owns the same model several times. Owned and called by one thread, like any other.

    `Line` sends batches to each of `models`. One that ends, hangs or answers what it must not loses its own batches
    only; it is started anew while the others go on.

    Parameters
    ----------
    policy
        Names the model, with `processes` from 1, and threads of each.
    clock
        For the time between two starts.

    Raises
    ------
    ModelDigestError
        If the model directory is not the pinned one, or holds what is refused.
    EmbeddingError
        If there is no such model.
    """

    def __init__(self, policy: EmbeddingPolicy, *, processes: int, clock: Clock | None = None) -> None:
        self._models = tuple(IsolatedEmbedder(policy, clock=clock) for _ in range(processes))

    @property
    def models(self) -> tuple[IsolatedEmbedder, ...]:
        """One a process."""
        return self._models

    @property
    def fingerprint(self) -> str:
        """Of the model, the same as without processes of its own."""
        return self._models[0].fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._models[0].dimension

    @property
    def packs(self) -> bool:
        """Whether the model reads texts without padding; False before `load`."""
        return all(model.packs for model in self._models)

    def load(self) -> None:
        """Start the processes and wait until each has loaded its model.

        Raises
        ------
        EmbeddingError
            If one cannot be started or load the model; none is left running then.
        """
        try:
            for model in self._models:
                model.start()
            for model in self._models:
                model.load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes. `load` may follow."""
        for model in self._models:
            model.close()

    def split(self, text: str) -> list[str]:
        """Cut a text into windows that the model reads whole; raises as `IsolatedEmbedder.split` does."""
        return self._models[0].split(text)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts in one batch, by the first process that is ready; raises as `IsolatedEmbedder.encode` does."""
        for model in self._models:
            if model.is_ready:
                return model.encode(texts)
        return self._models[0].encode(texts)


def make_live_embedder(policy: EmbeddingPolicy) -> Embedder:
    """The embedder for a guard: isolated, unless the policy says otherwise or it is no model at all.

    Raises
    ------
    EmbeddingError
        As `make_embedder`.
    """
    if not policy.isolated or policy.backend is Backend.UNSAFE_HASHING:
        return make_embedder(policy)
    processes, threads = policy.divide(available_threads())
    each = policy.model_copy(update={"threads": threads})
    return SeveralProcesses(each, processes=processes) if processes > 1 else IsolatedEmbedder(each)
