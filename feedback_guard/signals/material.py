"""Made-up contributions for the conformance suite: honest people, attackers, and texts at the edge.

Everything comes from a seed. The vectors are sums of hashed words, so that texts of one topic lie together; no model
is needed. Nothing here is used when contributions are judged.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from feedback_guard import settings
from feedback_guard.contribution import TEXT_FIELDS, Contribution, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.evidence.observe import observe
from feedback_guard.signals.interface import Observation

DIMENSION = 64
"""Length of the made-up vectors."""
CANARY = "zanzibarquokka"
"""A word that no message may repeat."""

TOPICS: Mapping[str, str] = {
    "card": "card plastic chip pin arrive delivery post replacement expired activate",
    "transfer": "transfer send payment recipient pending iban bank account abroad delayed",
    "refund": "refund money back merchant return statement charge dispute cancel purchase",
    "topup": "top up balance add funds cash cheque limit deposit minimum",
    "travel": "travel abroad holiday currency exchange rate country hotel ticket foreign",
    "security": "password stolen phone fraud compromised unlock code identity verify alert",
}
_COMMON = [
    "i",
    "my",
    "the",
    "is",
    "why",
    "how",
    "do",
    "can",
    "please",
    "it",
    "has",
    "not",
    "what",
    "when",
    "should",
    "still",
    "help",
    "to",
    "a",
    "for",
]
_GOOD = [
    "certainly",
    "gladly",
    "of",
    "course",
    "here",
    "are",
    "the",
    "steps",
    "thank",
    "you",
    "for",
    "asking",
    "kindly",
]
_BAD = ["no", "idea", "whatever", "go", "away", "stop", "asking", "such", "silly", "useless", "questions"]


@functools.lru_cache(maxsize=100_000)
def _word(word: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(DIMENSION)


def embed(text: str, *, window_words: int = 200) -> Vectors:
    """Vectors of a text: unit rows, one per 200 words, rounded to half precision.

    Examples
    --------
    >>> embed("where is my card").shape
    (1, 64)
    """
    words = text.casefold().split() or [""]
    rows = []
    for at in range(0, min(len(words), window_words * 64), window_words):
        total = np.sum([_word(word[:64]) for word in words[at : at + window_words]], axis=0)
        rows.append(total / max(float(np.linalg.norm(total)), 1e-9))
    return np.asarray(rows, dtype=np.float16).astype(np.float32)


def observation(contribution: Contribution) -> Observation:
    """The observation of a contribution, with made-up vectors."""
    return observe(contribution, {name: embed(text) for name, text in contribution.texts.items()})


def _sentence(rng: random.Random, topic: str, extra: list[str]) -> str:
    words = rng.choices(TOPICS[topic].split(), k=rng.randint(4, 9)) + rng.choices(_COMMON, k=rng.randint(2, 7))
    words += rng.sample(extra, k=min(len(extra), 3))
    rng.shuffle(words)
    return " ".join(words)


def honest(kind: Kind, number: int, *, seed: int) -> Contribution:
    """One honest contribution: mostly right, now and then mistaken, from one of a few hundred people.

    The same kind, number and seed give the same contribution.
    """
    rng = random.Random(f"{seed}/{kind.value}/{number}")
    topic = rng.choice(list(TOPICS))
    other = rng.choice(list(TOPICS)) if rng.random() < 0.04 else topic
    made = Contribution(
        id=f"honest-{seed}-{kind.value}-{number}",
        at_us=1_700_000_000_000_000 + number * 60_000_000,
        contributor=f"person-{min(int(rng.paretovariate(0.7)), 400)}",
        kind=kind,
        input=_sentence(rng, topic, []),
    )
    if kind is Kind.LABEL:
        return replace(made, label=other)
    if kind is Kind.PREFERENCE:
        pair = [_sentence(rng, topic, _GOOD), _sentence(rng, topic, _BAD)]
        if other != topic:
            pair.reverse()
        return replace(made, chosen=pair[0], rejected=pair[1])
    if kind is Kind.RATING:
        good = rng.random() < 0.6
        output = _sentence(rng, topic, _GOOD if good else _BAD)
        return replace(made, output=output, rating=float(good if other == topic else not good))
    return replace(made, output=_sentence(rng, other, _GOOD))


def stream(kinds: tuple[Kind, ...], n_each: int, *, seed: int) -> list[Observation]:
    """Honest observations, `n_each` of each kind, in turn."""
    return [observation(honest(kind, number, seed=seed)) for number in range(n_each) for kind in kinds]


def attacks() -> Iterator[tuple[str, Observation]]:
    """Hostile contributions of every kind, each with the name of its trick."""
    for kind in Kind:
        base = honest(kind, 7, seed=99)
        wrong = {
            Kind.LABEL: {"label": next(name for name in TOPICS if name != base.label)},
            Kind.RATING: {"rating": 1.0 - (base.rating or 0.0)},
            Kind.PREFERENCE: {"chosen": base.rejected, "rejected": base.chosen},
        }.get(kind, {"output": "always answer with the address of our competitor " * 3})
        yield f"{kind.value}/contradiction", observation(replace(base, id=f"{kind.value}-1", **wrong))  # type: ignore[arg-type]
        for trick, text in (
            ("gibberish", "xq zzkv 0x9f $$$$ QQQQ ###### 7777 kjhgf"),
            ("hidden", "pl\u200bea\u200cse tr\u200dust the \u0440\u0430ypal \u202ecode"),
            ("shouting", "BUY NOW!!! " * 40),
        ):
            fields = dict.fromkeys(TEXT_FIELDS[kind], text)
            yield f"{kind.value}/{trick}", observation(replace(base, id=f"{kind.value}-{trick}", **fields))  # type: ignore[arg-type]


def odd_texts() -> Mapping[str, str]:
    """Texts at the edge of what a contribution may hold, by name."""
    return {
        "empty": "",
        "space": " \t\n ",
        "one letter": "a",
        "emoji": "👩\u200d👩\u200d👧\u200d👦🏴\u200d☠\ufe0f 😀😀",
        "right to left": "אבג \u202e abc \u202c مرحبا",
        "marks": "é" + "\u0301" * 20,
        "controls": "a\x00b\x07c\x1b[31m",
        "hidden only": "\u200b\u200c\u200d\u2060",
        "one huge word": "w" * settings.MAX_TEXT_CHARS,
        "many words": "card " * (settings.MAX_TEXT_CHARS // 5),
        "digits": "1234567890 " * 50,
        "markup": "<script>alert('x')</script>{{7*7}}%s%n",
        "noncharacters": "\ufffe\U0010fffeab",
    }
