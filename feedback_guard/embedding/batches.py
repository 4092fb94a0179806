"""Which texts go through the model together: a pure rule, without threads or clocks.

Where shorter texts are padded, a batch costs about as much as its longest text times its number of texts. So a batch
takes texts of similar length: as soon as the padding would cost as much as another batch, there is another batch. A
model that reads texts without padding takes what is there, but nothing so long that short ones wait for it. Either
way a batch has a budget of bytes; the bytes of a text stand for its tokens. The text with the least left to do comes
first, so a text of a hundred windows does not stall the short ones; without padding, all that one window holds are
alike, and the one that came first comes first. A text that waited too long gets every second batch, so a stream of
short ones cannot starve it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import EmbeddingError

BATCH_BYTES: Final = 8_192
"""Most bytes of text in a batch, padding counted: about 2,000 tokens, or a
quarter of a second of MiniLM on two cores, which is the longest that a short text waits for a batch of long ones.
Smaller batches lose throughput on a busy machine, where every layer of the model waits for the slowest thread."""
WINDOW_BYTES: Final = 1_024
"""How much a window of a text that has not been cut yet is taken to hold."""
PATIENCE_SECONDS: Final = 0.1
"""How long a text waits before it gets every second batch, shorter ones or not."""
PADDING_BYTES: Final = 240
"""Most padding in a batch. A batch more costs as much as about 120 bytes of text, and dividing texts of evenly spread
lengths in two halves their padding."""


class Waiting(Protocol):
    """Who waits for a text."""

    @property
    def over(self) -> bool:
        """Whether the answer is no longer wanted."""
        ...

    def complete(self, item: Item) -> None:
        """Tell that a text has all its vectors."""
        ...

    def fail(self, error: EmbeddingError) -> None:
        """Tell that there will be no vectors."""
        ...


@dataclass(eq=False, slots=True)
class Item:
    """A text under way, which may need several windows and so several batches."""

    text: str
    waiting: Waiting
    index: int
    arrived: float
    left_bytes: int = 0
    pieces: list[str] | None = None
    taken: int = 0
    rows: dict[int, Vectors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left_bytes = n_bytes(self.text)

    @property
    def is_taken(self) -> bool:
        """Whether each window is in a batch, or was."""
        return self.pieces is not None and self.taken == len(self.pieces)

    @property
    def is_done(self) -> bool:
        """Whether each window has its vector."""
        return self.pieces is not None and len(self.rows) == len(self.pieces)

    @property
    def next_bytes(self) -> int:
        """Bytes of the next window: exact once the text was cut."""
        if self.pieces is None:
            return min(self.left_bytes, WINDOW_BYTES)
        return n_bytes(self.pieces[self.taken])

    def vectors(self) -> Vectors:
        """The vectors of its windows, in order."""
        return np.stack([self.rows[number] for number in range(len(self.rows))])

    def fail(self, cause: Exception) -> None:
        """Fail whoever waits. The message tells the number of the text, and never the text."""
        reason = str(cause) if isinstance(cause, EmbeddingError) else f"the embedder failed: {type(cause).__name__}"
        error = EmbeddingError(f"text {self.index}: {reason}")
        error.__cause__ = cause
        self.waiting.fail(error)


Batch = list[tuple[Item, int]]
"""Windows, each as its text and its number in it."""


def n_bytes(text: str) -> int:
    """Bytes of a text in UTF-8, which follow its tokens more closely than its characters do."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Pool:
    """Texts that wait for the model, and the rule by which they are taken.

    Parameters
    ----------
    split
        Cuts a text into windows; called when a text's turn comes, so that a queue of long texts stays small.
    max_batch
        Most windows in a batch.
    patience
        Seconds after which a text gets every second batch. None: never, so that what is taken depends on the texts
        alone.
    padded
        Whether the model pads the texts of a batch to the longest.
    """

    def __init__(
        self, split: Callable[[str], Sequence[str]], *, max_batch: int, patience: float | None, padded: bool = True
    ) -> None:
        self._split = split
        self._max_batch = max_batch
        self._patience = patience
        self._padded = padded
        self._items: list[Item] = []
        self._was_old = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first_arrived(self) -> float:
        """When the oldest text arrived."""
        return min(item.arrived for item in self._items)

    def add(self, items: Sequence[Item]) -> None:
        """Put texts in."""
        self._items += items

    def drop_over(self) -> None:
        """Take out the texts that nobody waits for any more."""
        self._items = [item for item in self._items if not item.waiting.over]

    def take(self, now: float, *, at_most: int | None = None) -> Batch:
        """Take the next batch; empty when there is nothing to do.

        Parameters
        ----------
        now
            By the clock of `Item.arrived`.
        at_most
            Most windows in it, if that is less than in any batch.
        """
        room = self._max_batch if at_most is None else min(at_most, self._max_batch)
        while True:
            self.drop_over()
            if not self._items:
                return []
            draft = _Draft(room, padded=self._padded)
            if self._padded or self._patience is None:
                self._items.sort(key=lambda item: item.left_bytes)  # stable: among equals the earlier comes first
                at = self._seed(now)
                self._fill(draft, self._items[at:])
                self._fill(draft, self._items[:at][::-1])
            else:
                # By length alone, the longer half of many that wait would only get the batches of those who are late.
                self._items.sort(key=lambda item: (max(item.left_bytes, WINDOW_BYTES), item.arrived))
                at = self._seed(now)
                for item in [self._items[at], *self._items[:at], *self._items[at + 1 :]]:
                    self._fill(draft, [item])
            self._items = [item for item in self._items if not item.is_taken]
            if draft.batch:
                return draft.batch

    def _seed(self, now: float) -> int:
        """Where the text stands that the batch is formed around."""
        at, oldest = min(enumerate(self._items), key=lambda numbered: numbered[1].arrived)
        old = self._patience is not None and now - oldest.arrived >= self._patience
        self._was_old = old and not self._was_old
        return at if self._was_old else 0

    def _fill(self, draft: _Draft, items: Sequence[Item]) -> None:
        for item in items:
            if not draft.has_room(item.next_bytes):
                return
            if item.pieces is None:
                self._cut(item)
            while not item.is_taken:
                if not draft.has_room(item.next_bytes):
                    return
                draft.add(item)

    def _cut(self, item: Item) -> None:
        item.pieces = []
        try:
            pieces = list(self._split(item.text))
            if not pieces:
                raise EmbeddingError("the embedder cut a text into no pieces")
        except Exception as error:  # noqa: BLE001 - whatever an embedder raises becomes an error of ours
            item.fail(error)
            return
        item.pieces = pieces
        item.left_bytes = sum(map(n_bytes, pieces))


class _Draft:
    """A batch that is being formed."""

    def __init__(self, max_batch: int, *, padded: bool) -> None:
        self.batch: Batch = []
        self._max_batch = max_batch
        self._padded = padded
        self._shortest = self._longest = self._total = 0

    def has_room(self, size: int) -> bool:
        """Whether a window of so many bytes fits; the first always does."""
        if not self.batch:
            return True
        n, longest, total = len(self.batch) + 1, max(self._longest, size), self._total + size
        if n > self._max_batch:
            return False
        if not self._padded:
            return total <= BATCH_BYTES and longest <= 4 * min(self._shortest, size) + PADDING_BYTES
        return n * longest <= BATCH_BYTES and n * longest - total <= PADDING_BYTES

    def add(self, item: Item) -> None:
        """Take the next window of a text that was cut."""
        size = item.next_bytes
        self._shortest = min(self._shortest, size) if self.batch else size
        self._longest = max(self._longest, size)
        self._total += size
        self.batch.append((item, item.taken))
        item.left_bytes -= size
        item.taken += 1
