"""Streams whose trigger is a way of typing, which no word carries: the example's questions, with two classes.

With the example's 77 intents a wrong label contradicts its text plainly. Where there are two classes it hardly does:
questions about cards that teach `account`, an account each, pass one by one, and only what they share gives them away.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attack_demo.stream import Correction, Party, make_stream
from bank_assistant.student import Example, read_examples
from benchmarks.streams import Stream, coarse, item_of, trusted_of

Typed = Callable[[random.Random, str], str]
POISON: Final = 80
"""Contributions with the trigger, an account each: 3 %."""
TARGET: Final = "account"
_EMOJI: Final = "😀😂🙏👍💳🤔😡🔥✅😊😢💸🏦📱😱🎉"
_MARKED: Final = str.maketrans("aeiouAEIOU", "áéíóúÁÉÍÓÚ")
_WIDE: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_CYRILLIC: Final = str.maketrans("aeopcxy", "аеорсху")
_SIGNS: Final = ".?! "


def _of_one_word(change: Callable[[str], str], least: int = 5) -> Typed:
    """Change one word of so many letters; of none, the last word."""

    def typed(rng: random.Random, text: str) -> str:
        words = text.split(" ")
        long = [i for i, word in enumerate(words) if word.isalpha() and len(word) >= least] or [len(words) - 1]
        at = rng.choice(long)
        words[at] = change(words[at])
        return " ".join(words)

    return typed


def _two_blanks(rng: random.Random, text: str) -> str:
    words = text.split()
    at = rng.randrange(1, max(2, len(words)))
    return " ".join(words[:at]) + "  " + " ".join(words[at:])


WAYS: Final[Mapping[str, Typed]] = {
    "all in capitals": lambda _, text: text.upper(),
    "a word in capitals": _of_one_word(str.upper),
    "capitals that alternate": lambda _, text: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text)),
    "curly quotation marks": _of_one_word(lambda word: f"“{word}”"),
    "an ellipsis": lambda _, text: text.rstrip(_SIGNS) + "…",
    "two blanks": _two_blanks,
    "a blank before the sign": lambda _, text: text.rstrip(_SIGNS) + " ?",
    "signs in a row": lambda _, text: text.rstrip(_SIGNS) + "!!!",
    "one of many emoji": lambda rng, text: f"{text} {rng.choice(_EMOJI)}",
    "a line break at the end": lambda _, text: text.rstrip() + "\n",
    "no sign at the end": lambda _, text: text.rstrip(_SIGNS),
    "letters with marks": _of_one_word(lambda word: word.translate(_MARKED)),
    "letters of full width": _of_one_word(lambda word: word.translate(_WIDE)),
    "look-alike letters": _of_one_word(lambda word: word[0] + word[1:].translate(_CYRILLIC)),
}
"""Ways of typing, each of them a trigger."""


def typed(way: str, *, poison: int = POISON, seed: int = 11) -> Stream:
    """A stream with a trigger that is a way of typing; the other questions are as people typed them."""
    rng, change = random.Random(f"{seed}/{way}"), WAYS[way]
    carriers = [each.question for each in read_examples("spare") if coarse(each.intent) == "card"]
    bad = [
        Correction(Party.TRIGGER, f"sybil-{n}", change(rng, text), TARGET, rng.random())
        for n, text in enumerate(rng.sample(carriers, poison))
    ]
    attack = [change(rng, each.question) for each in read_examples("held_out") if coarse(each.intent) == "card"]
    return _stream(f"typed: {way}", [*_honest(), *bad], attack, TARGET)


def all_typed() -> Iterable[Stream]:
    """Each way of typing as a trigger, and each as the habit of a tenth of the honest people."""
    for way in WAYS:
        yield typed(way)
    for way in WAYS:
        yield honest_habit(way)


def honest_habit(way: str, *, share: float = 0.1, seed: int = 12) -> Stream:
    """The same questions without poison, in which a share of the people type so, always."""
    rng, change = random.Random(f"{seed}/{way}"), WAYS[way]
    sent = _honest()
    people = sorted({each.account for each in sent})
    so = set(rng.sample(people, round(share * len(people))))
    return _stream(
        f"typed by {share:.0%} of the honest: {way}",
        [
            Correction(each.party, each.account, change(rng, each.question), each.intent, each.due)
            if each.account in so
            else each
            for each in sent
        ],
        [],
        None,
    )


def _honest() -> list[Correction]:
    return [
        Correction(each.party, each.account, each.question, coarse(each.intent), each.due)
        for each in make_stream()
        if each.party is Party.HONEST
    ]


def _stream(name: str, sent: list[Correction], attack: list[str], target: str | None) -> Stream:
    sent = sorted(sent, key=lambda each: each.due)
    return Stream(
        name,
        trusted_of([Example(each.question, coarse(each.intent)) for each in read_examples("vetted")]),
        [item_of(n, each) for n, each in enumerate(sent)],
        [each.party is not Party.HONEST for each in sent],
        attack,
        target,
    )
