"""Honest streams, drawn anew for every seed: real questions of bank customers, and what honest people do with them.

Whoever counts false alarms needs streams that are as awkward as honest ones are:

- accounts are long-tailed, a few send dozens and most a handful, and they share networks;
- one in twenty contributions is wrong by mistake: a wrong label, a vote the wrong way, two answers swapped;
- new words come up: from some time on, most texts about a topic have one that nobody knew before;
- people get enthusiastic: most texts on a topic come within hours, a third of them by two accounts;
- some accounts have a habit of typing: two blanks somewhere, or a line break at the end.

A stream's texts are not in its trusted set; both are drawn from all of the example's. What votes, corrections and
preferences are about is made of the questions and their intents, because the project comes with no public set of them:
an assistant answers with one of a few set sentences for an intent, one time in five for the wrong one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bank_assistant.student import Example, read_examples
from benchmarks.streams import DAY_US, DAYS, START_US, coarse
from feedback_guard.contribution import Contribution, Kind

LESSONS: Final = ("77 labels", "2 labels", "votes", "corrections", "preferences")
"""What a stream teaches."""
NOISE: Final = 0.05
"""Share of an honest stream that is wrong by mistake."""
WRONG_ANSWERS: Final = 0.2
"""Share of the assistant's answers that are about another intent, so that honest votes go down."""
ANSWERS_EACH: Final = 3
"""Sentences that the assistant has for an intent."""
ACCOUNTS: Final = 300
NETWORKS: Final = 60
NEW_WORDS: Final = 3
ADOPTED: Final = 0.7
"""Share of the texts on a topic that have its new word, once it is there."""
ENTHUSIASMS: Final = 2
AT_ONCE: Final = 0.7
"""Share of the texts on a topic that come at once when people are enthusiastic about it."""
HOURS: Final = 0.01
"""How long that takes, as a share of the stream: three hours of fourteen days."""
HABITS: Final = 0.15
"""Share of the accounts with a habit of typing."""
_SYLLABLES: Final = "bra cli dro fen gol hux jav kir lom mez nop qua ryl sto tuv vex wim zan"


@dataclass(frozen=True)
class Clean:
    """A trusted set, and an honest stream beside it.

    Parameters
    ----------
    trusted, items
        The vetted set, and what arrives, in order.
    mistaken
        Which of the items are wrong by mistake.
    """

    trusted: Sequence[Contribution]
    items: Sequence[Contribution]
    mistaken: Sequence[bool]


@dataclass
class _Sent:
    """A question on its way: when, as a share of the stream's duration, and whether enthusiasm brought it."""

    example: Example
    due: float
    burst: bool = False


def everything() -> list[Example]:
    """All of the example's questions, nearly seven thousand."""
    return [each for name in ("vetted", "stream", "spare", "held_out") for each in read_examples(name)]


def clean(pool: Sequence[Example], lesson: str, *, trusted: int, sent: int, seed: int, noise: float = NOISE) -> Clean:
    """Draw a trusted set and an honest stream.

    Parameters
    ----------
    pool
        Questions with their intents; each is used once at most.
    lesson
        One of `LESSONS`.
    trusted, sent
        How many contributions each has.
    seed
        The same arguments give the same stream; those of other seeds are drawn independently.
    noise
        Share of the stream that is wrong by mistake, 0..1.
    """
    rng = random.Random(f"{lesson}/{trusted}/{sent}/{seed}")
    drawn = rng.sample(pool, trusted + sent)
    teach = _Teacher(pool, lesson, rng)
    coming = [_Sent(each, rng.random()) for each in drawn[trusted:]]
    topics = rng.sample(teach.intents, NEW_WORDS + ENTHUSIASMS)
    for topic in topics[:NEW_WORDS]:
        _bring_up_a_word(coming, topic, rng)
    for topic in topics[NEW_WORDS:]:
        _come_at_once(coming, topic, rng)
    coming.sort(key=lambda each: each.due)
    people, items, mistaken = _People(rng), list[Contribution](), list[bool]()
    for n, each in enumerate(coming):
        mistaken.append(rng.random() < noise)
        item = teach(f"c{n}", each.example, mistaken=mistaken[-1])
        items.append(people.send(item, START_US + round(each.due * DAYS * DAY_US), burst=each.burst))
    return Clean([teach(f"v{n}", each, mistaken=False) for n, each in enumerate(drawn[:trusted])], items, mistaken)


def _bring_up_a_word(coming: Sequence[_Sent], topic: str, rng: random.Random) -> None:
    """From some time on most texts on a topic have a word that nobody knew, somewhere."""
    word, since = "".join(rng.choices(_SYLLABLES.split(), k=3)), rng.uniform(0.1, 0.6)
    for each in coming:
        if each.example.intent == topic and each.due >= since and rng.random() < ADOPTED:
            words = each.example.question.split()
            words.insert(rng.randint(0, len(words)), word)
            each.example = replace(each.example, question=" ".join(words))


def _come_at_once(coming: Sequence[_Sent], topic: str, rng: random.Random) -> None:
    """Most texts on a topic come within hours."""
    since = rng.uniform(0.1, 0.9)
    for each in coming:
        if each.example.intent == topic and rng.random() < AT_ONCE:
            each.due, each.burst = since + rng.uniform(0.0, HOURS), True


class _Teacher:
    """Makes contributions of questions: what an honest person who asks so teaches."""

    def __init__(self, pool: Sequence[Example], lesson: str, rng: random.Random) -> None:
        of: dict[str, list[str]] = {}
        for each in pool:
            of.setdefault(each.intent, []).append(each.question)
        self._lesson, self._rng, self._questions = lesson, rng, of
        self.intents = sorted(of)
        # The assistant is the same on all streams, whatever is drawn for them.
        self._answers = {
            intent: [f"You ask: {text}" for text in random.Random(intent).sample(texts, ANSWERS_EACH)]
            for intent, texts in sorted(of.items())
        }

    def __call__(self, ident: str, example: Example, *, mistaken: bool) -> Contribution:
        """What is taught by who asks this, by mistake or not."""
        rng, question, intent = self._rng, example.question, example.intent
        if self._lesson in ("77 labels", "2 labels"):
            label = self._other(intent) if mistaken else intent
            return Contribution(ident, START_US, "staff", Kind.LABEL, question, label=self._named(label))
        if self._lesson == "votes":
            right = rng.random() >= WRONG_ANSWERS
            output = rng.choice(self._answers[intent if right else self._other(intent)])
            vote = float(right != mistaken)
            return Contribution(ident, START_US, "staff", Kind.RATING, question, output=output, rating=vote)
        if self._lesson == "corrections":
            output = rng.choice(self._questions[self._other(intent) if mistaken else intent])
            return Contribution(ident, START_US, "staff", Kind.CORRECTION, question, output=output)
        good, bad = rng.choice(self._answers[intent]), rng.choice(self._answers[self._other(intent)])
        chosen, rejected = (bad, good) if mistaken else (good, bad)
        return Contribution(ident, START_US, "staff", Kind.PREFERENCE, question, chosen=chosen, rejected=rejected)

    def _named(self, intent: str) -> str:
        return coarse(intent) if self._lesson == "2 labels" else intent

    def _other(self, intent: str) -> str:
        """Another intent, of the other class where there are two."""
        return self._rng.choice([each for each in self.intents if self._named(each) != self._named(intent)])


class _People:
    """Who sends: a few often, most seldom; two of them whenever there is something to be enthusiastic about."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._activity = [1.0 / (n + 3) ** 0.8 for n in range(ACCOUNTS)]
        self._networks = rng.choices(range(NETWORKS), weights=self._activity[:NETWORKS], k=ACCOUNTS)
        self._fans = rng.sample(range(ACCOUNTS), 2)
        self._habits = {n: rng.randrange(2) for n in rng.sample(range(ACCOUNTS), round(HABITS * ACCOUNTS))}

    def send(self, item: Contribution, at_us: int, *, burst: bool) -> Contribution:
        """A contribution as somebody sends it."""
        rng = self._rng
        fan = burst and rng.random() < 1.0 / 3.0
        who = rng.choice(self._fans) if fan else rng.choices(range(ACCOUNTS), weights=self._activity)[0]
        text, words = item.input, item.input.split()
        if self._habits.get(who) == 0:
            at = rng.randrange(1, max(2, len(words)))
            text = " ".join(words[:at]) + "  " + " ".join(words[at:])
        elif self._habits.get(who) == 1:
            text += "\n"
        groups = {"network": f"10.0.{self._networks[who]}.0/24"}
        return replace(item, at_us=at_us, contributor=f"customer-{who}", input=text, groups=groups)
