"""More accounts than chance sent almost the same text.

A campaign repeats itself, because repetition is what makes a model learn; sent through many accounts, no budget of a
single account sees it. So what counts here is the number of *other* accounts that sent almost the same text lately,
against what the trusted set says about how often honest people do (`popularity`).

Texts are compared in their matching form (without case, look-alikes and hidden characters), by the share of five-
character runs that they have in common. Addresses, amounts, dates, numbers and codes are replaced by what they are
(`text.masks`), since spam from one template has another one in each text. Looked at are the last 500, 5,000 and 50,000
texts: a burst shows in the short window, a slow campaign in the long one, and a Bonferroni factor pays for looking at
all three. So it does for several texts of one contribution.

Assumptions: honest contributions by different accounts resemble each other as often as trusted ones do, and do so
independently, given the text. They fail when something happens that makes many honest people write the same
sentence: that is held, and one decision of a moderator settles the family. Until some others have come, the first
members of a campaign pass; what they taught is found again by the family that later members name.

Copies of a victim's text bring the victim's own repetitions of that text into the family and nothing else: no other
text of the victim looks odder for it, and no account is ever blamed here.

What remains: a paraphrase that shares less than half of its runs starts a family of its own, and texts padded with
much other text drift apart in the same way.

References
----------
Broder, A. Z. (1997). On the resemblance and containment of documents.
"""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, cast

import numpy as np

from feedback_guard.contribution import ANONYMOUS, Contribution, Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals.families import Family, FamilyIndex
from feedback_guard.signals.interface import Array, Condition, Finding, Observation, Signal, State
from feedback_guard.signals.popularity import Popularity
from feedback_guard.signals.sketch import Sketch, Sketcher
from feedback_guard.text.masks import mask

FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.LABEL: ("input",),
    Kind.RATING: ("input",),
    Kind.CORRECTION: ("input", "output"),
    Kind.PREFERENCE: ("input", "chosen"),
    Kind.DEMONSTRATION: ("input", "output"),
}
"""Texts that are compared: those that the user wrote or chose, not those that the model served."""
CAPACITY = 50_000
"""Latest texts of a field that are remembered."""
WINDOWS = (500, 5_000)
"""Shorter windows within the capacity, in texts."""
LEAST_TRUSTED = 50
"""Trusted texts of a field below which nothing is said about that field."""
MAX_TRUSTED = 20_000
"""Most trusted texts of a field that are compared with; of a larger set a random part is kept."""

_SKETCHED = 1_024
"""Sketches that are kept, since a text is sketched when it is judged and again when it is remembered."""
_SKETCHED_CHARS = 4_096
"""Longest text whose sketch is kept, in code points."""
_NUMBERED = 1_024
"""Accounts whose numbers are kept: who is judged is soon remembered."""
_CHANCES = 4_096
"""P-values of a field that are kept: most are of few accounts in a window of fixed length."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What is known of one field: trusted families and how popular texts are, and the families of the stream."""

    popularity: Popularity
    trusted: FamilyIndex
    stream: FamilyIndex
    chance: Callable[[int, int, int, int], float]
    """`popularity.p_value`, remembered."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The window in which the number of accounts is most surprising."""

    p_value: float
    field: str
    accounts: int
    others: int
    expected: float
    family: str


class NearDuplicate(Signal):
    """More accounts than chance sent almost the same text.

    Made by `from_state`; see the module for the idea. A score costs about 0.1 ms of CPU.
    """

    name: ClassVar[str] = "near_duplicate"

    def __init__(self, state: State) -> None:
        key, capacity = state.values.get("key"), state.values.get("capacity")
        if not isinstance(key, str) or not isinstance(capacity, int) or capacity < 1:
            raise BaselineError("the state of near_duplicate has no key or no capacity; build the baseline again")
        self._key = key
        self._capacity = capacity
        self._masked = state.values.get("masked") is True  # a baseline from before there were masks judges as before
        self._sketcher = Sketcher(bytes.fromhex(key))
        self._kept = functools.lru_cache(_SKETCHED)(self._sketch)
        self._number = functools.lru_cache(_NUMBERED)(self._sketcher.number)
        self._fields: dict[str, _Field] = {}
        for name in cast("list[str]", state.values.get("fields", [])):
            own = _under(state.arrays, name)
            size = max(1, int(own["trusted.counters"][0]))
            trusted = FamilyIndex(self._sketcher, size, max_members=size)
            trusted.load(_under(own, "trusted"))
            stream = FamilyIndex(self._sketcher, capacity)
            stream.load(_under(own, "stream"))
            popularity = Popularity(own["popularity.a"].astype(np.float64), own["popularity.b"].astype(np.float64))
            chance = functools.lru_cache(_CHANCES)(popularity.p_value)
            self._fields[name] = _Field(popularity, trusted, stream, chance)

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Count how often trusted texts resemble each other, each against those before it in random order."""
        rng = np.random.default_rng(seed)
        texts: dict[str, list[str]] = {}
        for observation in trusted:
            for name in FIELDS[observation.contribution.kind]:
                texts.setdefault(name, []).append(mask(_text(observation, name)))
        texts = {name: found for name, found in sorted(texts.items()) if len(found) >= LEAST_TRUSTED}
        if not texts:
            raise BaselineError(
                f"near_duplicate needs at least {LEAST_TRUSTED} trusted contributions; the trusted set has "
                f"{len(trusted)}"
            )
        # the trusted set is not public, so neither is a key that is made from it; nor does a rebuild change it
        key = hashlib.blake2b(repr((seed, texts)).encode("utf-8", "surrogatepass"), digest_size=32).digest()
        sketcher = Sketcher(key)
        arrays: dict[str, Array] = {}
        for name, found in texts.items():
            order = rng.permutation(len(found))[:MAX_TRUSTED]
            index = FamilyIndex(sketcher, len(order), max_members=len(order))
            alike = []
            for number in order.tolist():
                sketch = sketcher.sketch(found[number])
                alike.append(_accounts(index.near(sketch)))
                index.add(sketch, int(number))
            popularity = Popularity.fit(np.array(alike[1:]), np.arange(1, len(alike)))
            arrays |= {f"{name}.popularity.a": popularity.a, f"{name}.popularity.b": popularity.b}
            arrays |= _over(index.arrays(), f"{name}.trusted")
            arrays |= _over(FamilyIndex(sketcher, 1).arrays(), f"{name}.stream")
        return State({"key": key.hex(), "capacity": CAPACITY, "fields": list(texts), "masked": True}, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the detector with all that it had witnessed."""
        return cls(state)

    def score(self, observation: Observation) -> Finding:
        """Ask how many other accounts sent almost the same texts."""
        names = [name for name in FIELDS[observation.contribution.kind] if name in self._fields]
        if not names:
            what = (
                f"the trusted set has too few texts to tell how often a {observation.contribution.kind.value} repeats"
            )
            return Finding(self.name, None, what, Condition.ABSTAINED)
        account = self._account(observation.contribution)
        found = [one for name in names for one in self._look(observation, name, account)]
        if not found:
            seen = max(min(self._fields[name].stream.n_seen, self._capacity) for name in names)
            return Finding(self.name, 1.0, f"none of the last {seen} texts by other accounts is almost the same")
        worst = min(found, key=lambda one: one.p_value)
        p_value = min(1.0, len(names) * worst.p_value)
        message = (
            f"{_accounts_in_words(worst.accounts)} sent almost the same {worst.field} among the last {worst.others} "
            f"texts; at most {worst.expected:.2g} would be expected"
        )
        return Finding(self.name, p_value, message, facet=f"family:{worst.family}")

    def witness(self, observation: Observation) -> None:
        """Remember who sent what, accepted or not."""
        account = self._account(observation.contribution)
        for name in FIELDS[observation.contribution.kind]:
            if name in self._fields:
                self._fields[name].stream.add(self._sketch_of(observation, name), account)

    def families(self, observation: Observation) -> list[str]:
        """Name the family of near copies that each text belongs to; one without relatives founds its own.

        Of the texts that are not compared, for want of trusted ones, only exact copies are relatives.
        """
        found = []
        for name in FIELDS[observation.contribution.kind]:
            if name not in self._fields:
                text = self._as_compared(_text(observation, name))
                found.append(self._sketcher.digest(f"exact {name} {text}".encode("utf-8", "surrogatepass")))
                continue
            stream, sketch = self._fields[name].stream, self._sketch_of(observation, name)
            near = stream.near(sketch)
            found.append(self._sketcher.digest(stream.leader(near[0].ident) if near else sketch.hashes.tobytes()))
        return found

    def state(self) -> State:
        """Everything, as data. It holds keyed hashes of texts and accounts, not the texts and names."""
        arrays: dict[str, Array] = {}
        for name, field in self._fields.items():
            arrays |= {
                f"{name}.popularity.a": field.popularity.a.copy(),
                f"{name}.popularity.b": field.popularity.b.copy(),
            }
            arrays |= _over(field.trusted.arrays(), f"{name}.trusted")
            arrays |= _over(field.stream.arrays(), f"{name}.stream")
        return State(
            {
                "key": self._key,
                "capacity": self._capacity,
                "fields": list(self._fields),
                "masked": self._masked,
            },
            arrays,
        )

    def _look(self, observation: Observation, name: str, account: int) -> Iterator[_Found]:
        """The most surprising window of a field, if another account sent almost the same text."""
        field = self._fields[name]
        sketch = self._sketch_of(observation, name)
        families = field.stream.near(sketch)
        if not families:
            return
        seen = field.stream.n_seen
        lengths = sorted({min(seen, length) for length in (*WINDOWS, self._capacity)})
        counts = _counts(families, account, [seen - length for length in lengths])
        if not counts[-1]:
            return
        n = field.trusted.n_seen
        m = _accounts(field.trusted.near(sketch))
        best: tuple[float, int, int] | None = None
        for length, accounts in zip(lengths, counts, strict=True):
            if not accounts:
                continue
            p_value = min(1.0, len(lengths) * field.chance(accounts, length, m, n))
            if best is None or p_value < best[0]:
                best = (p_value, accounts, length)
        if best is not None:
            p_value, accounts, length = best
            family = self._sketcher.digest(field.stream.leader(families[0].ident))
            yield _Found(p_value, name, accounts, length, field.popularity.expected(m, n, length), family)

    def _sketch_of(self, observation: Observation, name: str) -> Sketch:
        """The sketch of a text, the same one as long as it is kept."""
        text = _text(observation, name)
        return self._kept(text) if len(text) <= _SKETCHED_CHARS else self._sketch(text)

    def _sketch(self, text: str) -> Sketch:
        return self._sketcher.sketch(self._as_compared(text))

    def _as_compared(self, text: str) -> str:
        return mask(text) if self._masked else text

    def _account(self, contribution: Contribution) -> int:
        """Who sent it. Those who are not named are told apart by their network, for want of anything better."""
        if contribution.contributor == ANONYMOUS:
            return self._number(f"network {contribution.groups.get('network', '')}")
        return self._number(f"account {contribution.contributor}")


def _text(observation: Observation, name: str) -> str:
    canonical = observation.texts.get(name)
    if canonical is None:
        raise SignalError(f"{name} has no canonical text; it was not read")
    return canonical.skeleton


def _counts(families: Sequence[Family], but: int, after: Sequence[int]) -> list[int]:
    """How many accounts other than one came to some of the families after each of several contributions.

    There may be thousands, in the order in which they came: nothing here goes through them one by one.
    """
    if len(families) == 1:
        members = families[0].members
        times, own = list(members.values()), members.get(but, 0)
        return [len(times) - bisect_right(times, line) - (own > line) for line in after]
    came = [(list(family.members), list(family.members.values())) for family in families]
    counts = []
    for line in after:
        found = set[int]().union(*(accounts[bisect_right(times, line) :] for accounts, times in came))
        found.discard(but)
        counts.append(len(found))
    return counts


def _accounts(families: Sequence[Family]) -> int:
    return len(set[int]().union(*(family.members for family in families)))


def _accounts_in_words(n: int) -> str:
    return "another account" if n == 1 else f"{n} other accounts"


def _under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def _over(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}
