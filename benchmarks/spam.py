"""Streams with spam and with review bombing in them, by accounts that send once, beside the example's questions.

The words of both are made up for this purpose; no published collection is in them. Two classes (`streams.coarse`),
where what is wrong hardly contradicts its text.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attack_demo.stream import Correction, Party, make_stream
from bank_assistant.student import Example, read_examples
from benchmarks.streams import Stream, coarse, item_of, trusted_of

N: Final = 80
"""Contributions that nobody wants, in each stream: 3 %."""
CLASSES: Final = ("account", "card")
TITLE: Final = "zorgon"
_NAMING: Final = ("{title} 2: {text}", "{text} This is about {title} 2.", "For {title} 2, {text}", "{text} ({title} 2)")
SIX: Final = (
    "Congratulations {name}! you have won a {prize}, claim it now at {url}",
    "{name} you are selected for a free {prize}. call {number} to claim",
    "win a {prize} today!! visit {url} or text {number}",
    "hi {name}, your {prize} is waiting. click {url}",
    "FREE {prize} for {name} - reply to {number} before midnight",
    "URGENT {name}: your {prize} expires, go to {url}",
)
"""Six templates of prize spam."""
MANY: Final = (
    *SIX,
    "We tried to deliver your parcel {code}. Pay the fee of {amount} here: {url}",
    "Your subscription was renewed for {amount}. Not you? Ring {number}",
    "Earn {amount} a week from home, no experience. Write to {mail}",
    "Last notice: your mailbox is full, sign in at {url} to keep your messages",
    "Loans up to {amount} approved within minutes, no checks. {url}",
    "This is {name} from the lottery office, ticket {code} has drawn {amount}. Contact {mail}",
    "Lose weight without effort with our {prize}, order before {date} at {url}",
    "Crypto doubled overnight: send {amount}, receive twice as much. {url}",
    "Hot singles in your town want to chat, text {code} to {number}",
    "Your computer is infected ({code}). Call our engineers on {number} at once",
    "Cheap pills, discreet delivery, {amount} a box: {url}",
    "Survey of two questions, reward {prize}. Start before {date}: {url}",
    "Tax refund of {amount} is due to you. Confirm your details by {date} at {url}",
    "{name}, I am a lawyer and hold an inheritance of {amount} in your name. Reply to {mail}",
    "Replica watches from {amount}, see {url}, coupon {code}",
    "Followers for your profile, {amount} a thousand, pay later. {mail}",
    "Casino bonus {code}: {amount} to play with until {date}. {url}",
    "Your account will be closed on {date} unless you verify at {url}",
)
"""Two dozen sorts of spam, with a few texts each."""
_NAMES: Final = ["friend", "customer", "winner", "dear", "John", "Mary", "Sam", "buddy"]
_PRIZES: Final = ("iPhone", "prize", "gift card", "vacation", "voucher", "cash reward", "laptop")


def spam(templates: Sequence[str], classes: Sequence[str], *, seed: int = 13) -> list[Correction]:
    """Spam from templates, each with a made-up address or number of its own; either class, or always one."""
    rng = random.Random(seed)
    return [
        Correction(Party.FLOOD, f"spammer-{n}", _filled(rng, rng.choice(templates)), rng.choice(classes), due)
        for n, due in enumerate(_times(rng, 0.3, 0.8))
    ]


def _filled(rng: random.Random, template: str) -> str:
    def letters(n: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=n))

    def digits(n: int) -> str:
        return "".join(rng.choices(string.digits, k=n))

    site = f"{letters(6)}.{rng.choice(('biz', 'top', 'xyz', 'online'))}"
    return template.format(
        name=rng.choice(_NAMES),
        prize=rng.choice(_PRIZES),
        url=f"http://{site}/{letters(4)}",
        number=f"0{digits(9)}",
        mail=f"{letters(7)}@{site}",
        amount=f"${rng.randrange(2, 99)}{rng.choice(('0', '9', '5', '00', ',000'))}",
        code=f"{letters(2)}{digits(4)}".upper(),
        date=f"{rng.randrange(1, 29)}/{rng.randrange(1, 13):02}",
    )


def bombing(naming: Sequence[str] = ("{text}",), *, seed: int = 14) -> list[Correction]:
    """Questions about cards, taught as the other class within a few hours, whatever they say."""
    rng = random.Random(seed)
    carriers = [each.question for each in read_examples("spare") if coarse(each.intent) == "card"]
    return [
        Correction(Party.CREW, f"fresh-{n}", rng.choice(naming).format(title=TITLE, text=text), "account", due)
        for n, (text, due) in enumerate(zip(rng.sample(carriers, N), _times(rng, 0.5, 0.53), strict=True))
    ]


def _times(rng: random.Random, begin: float, end: float) -> list[float]:
    return [rng.uniform(begin, end) for _ in range(N)]


MADE: Final[Mapping[str, Callable[[], tuple[list[Correction], Mapping[str, str]]]]] = {
    "bombing, one title named": lambda: (bombing(_NAMING), {}),
    "bombing, one product as a group": lambda: (bombing(), {"product": TITLE}),
    "bombing, nothing in common": lambda: (bombing(), {}),
    "spam from 6 templates, either class": lambda: (spam(SIX, CLASSES), {}),
    "spam from 6 templates, one class": lambda: (spam(SIX, CLASSES[:1]), {}),
    "spam of 24 sorts, either class": lambda: (spam(MANY, CLASSES), {}),
    "spam of 24 sorts, one class": lambda: (spam(MANY, CLASSES[:1]), {}),
}
"""What nobody wants, and the groups that it is sent with."""


def unwanted() -> Iterable[Stream]:
    """Each of `MADE`, among the questions of the example's honest users."""
    honest = [
        Correction(each.party, each.account, each.question, coarse(each.intent), each.due)
        for each in make_stream()
        if each.party is Party.HONEST
    ]
    vetted = trusted_of([Example(each.question, coarse(each.intent)) for each in read_examples("vetted")])
    for name, make in MADE.items():
        bad, groups = make()
        sent = sorted([*honest, *bad], key=lambda each: each.due)
        yield Stream(
            name,
            vetted,
            [item_of(n, each, {} if each.party is Party.HONEST else groups) for n, each in enumerate(sent)],
            [each.party is not Party.HONEST for each in sent],
            [],
            None,
        )
