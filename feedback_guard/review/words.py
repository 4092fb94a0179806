"""Numbers and states in the words of the people who decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import exp, floor, log, log10

from feedback_guard.clock import MICROSECONDS
from feedback_guard.store.states import Delivery, Learning

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

RARE = 1e-6
"""A p-value below this is called by this bound: no trusted set is large enough to tell smaller ones apart."""

DELIVERY_WORDS: Mapping[Delivery, tuple[str, str]] = {
    Delivery.NONE: ("no request", "There is no request to pass on: it came by file or by a direct call."),
    Delivery.REFUSED: ("refused", "The guard answered; the application never saw the request."),
    Delivery.HELD: ("held", "The request is kept; the application has not seen it."),
    Delivery.APPROVED: ("approved, waiting", "The request waits for the application to take it."),
    Delivery.DENIED: ("denied", "The application never sees the request."),
    Delivery.DISPATCHING: ("being passed on", "The request is on its way to the application; no answer yet."),
    Delivery.DELIVERED: ("delivered", "The application took the request."),
    Delivery.FAILED: ("failed", "The application answered the request with an error."),
    Delivery.UNKNOWN: (
        "unknown",
        "The request was given to the application, and nobody can tell what it did with it. It is not sent again by "
        "itself, because the effect could then happen twice: look in the application, then say what you found.",
    ),
    Delivery.NEEDS_CREDENTIALS: (
        "needs credentials",
        "The application wants other credentials than the request could be given with.",
    ),
    Delivery.GIVEN_UP: ("given up", "A moderator decided that the request is not sent again."),
    Delivery.WITHDRAWN: ("withdrawn", "The application never sees the request: its contributor sent another one."),
}
"""Each state of a request: a few words, and a sentence."""

LEARNING_WORDS: Mapping[Learning, tuple[str, str]] = {
    Learning.ACCEPTED: ("accepted", "The model may learn it."),
    Learning.HELD: ("held", "It waits for a decision; the model does not learn it."),
    Learning.LIMITED: ("limited", "A budget had no room; the model does not learn it."),
    Learning.REJECTED: ("rejected", "The model does not learn it."),
    Learning.APPROVED: ("approved", "A moderator approved it; the model may learn it."),
    Learning.DENIED: ("denied", "A moderator denied it; the model does not learn it."),
    Learning.WITHDRAWN: ("withdrawn", "Its contributor sent another one in its place; the model does not learn it."),
}
"""Each state of a contribution: a few words, and a sentence."""

SIGNAL_WORDS: Mapping[str, str] = {
    "disagreement": "Contradicts its content",
    "novelty": "Unlike anything trusted",
    "anomaly": "Unusual shape",
    "near_duplicate": "Many accounts, one text",
    "obfuscation": "Hidden or disguised text",
    "evidence": "Part of a campaign",
}
"""Headings of the signals."""


def signal(name: str) -> str:
    """The heading of a signal, a budget, or a part of the guard.

    Examples
    --------
    >>> signal("novelty"), signal("per_account")
    ('Unlike anything trusted', 'Per account')
    """
    if name in SIGNAL_WORDS:
        return SIGNAL_WORDS[name]
    return name.replace("_", " ").capitalize() if _NAME.fullmatch(name) else "Another reason"


def odds(p_value: float | None) -> str:
    """A p-value as a sentence.

    Examples
    --------
    >>> odds(0.0021)
    'about 1 in 480 honest contributions looks at least this odd'
    >>> odds(0.4)
    '40 % of honest contributions look at least this odd'
    """
    if p_value is None:
        return "no rate applies"
    if p_value < RARE:
        return "fewer than 1 in a million honest contributions look at least this odd"
    if p_value >= 0.1:
        return f"{p_value:.0%} of honest contributions look at least this odd".replace("%", " %")
    return f"about 1 in {_two_digits(1 / p_value):,} honest contributions looks at least this odd"


def own_odds(p_value: float | None, message: str) -> str:
    """The rate of one signal, unless its message says it already.

    Examples
    --------
    >>> own_odds(0.4, "far from all that is trusted; 40.00% of honest contributions look at least this odd")
    ''
    >>> own_odds(0.4, "nothing is hidden in the text")
    '40 % of honest contributions look at least this odd'
    """
    return "" if p_value is None or "at least this odd" in message else odds(p_value)


def short_odds(p_value: float | None) -> str:
    """A p-value in a few words, for a list.

    Examples
    --------
    >>> short_odds(0.0021), short_odds(0.4), short_odds(None)
    ('1 in 480 honest ones is as odd', '40 % of honest ones are as odd', '')
    """
    if p_value is None:
        return ""
    if p_value < RARE:
        return "not 1 in a million honest ones is as odd"
    if p_value >= 0.1:
        return f"{p_value:.0%} of honest ones are as odd".replace("%", " %")
    return f"1 in {_two_digits(1 / p_value):,} honest ones is as odd"


def suspicion(value: float) -> str:
    """A suspicion, 0..1, with as many digits as tell it from 1.

    Examples
    --------
    >>> suspicion(0.25), suspicion(0.99987)
    ('0.25', '0.99987')
    """
    if value >= 1.0 - RARE:
        return "1.0" if value >= 1.0 else "> 0.999999"
    return f"{value:.2f}" if value < 0.95 else f"{value:.5f}".rstrip("0")


def _two_digits(value: float) -> int:
    unit = 10.0 ** (floor(log10(value)) - 1)
    return round(round(value / unit) * unit)


def chance(log_e: float) -> str:
    """How strong evidence is, as how rarely chance alone makes as much of it.

    Parameters
    ----------
    log_e
        Natural logarithm of an e-value: 1 / e bounds that chance.

    Examples
    --------
    >>> chance(12.0), chance(43.0), chance(900.0)
    ('once in 160,000', 'once in 4.7 billion billion', 'less than once in a billion billion billion')
    """
    if log_e <= log(2):
        return "often"
    if log_e > log(1e27):
        return "less than once in a billion billion billion"
    value = exp(log_e)
    for unit, name in ((1e18, " billion billion"), (1e9, " billion"), (1e6, " million")):
        if value >= unit:
            return f"once in {_short(value / unit)}{name}"
    return f"once in {_two_digits(value):,}"


def contrary(milli: int | None) -> str:
    """How a contribution stands to its own content, from log-odds in thousandths.

    Examples
    --------
    >>> contrary(2_500), contrary(-700), contrary(40), contrary(None)
    ('contradicts it, 12 to 1', 'fits it, 2 to 1', 'says neither', 'not known')
    """
    if milli is None:
        return "not known"
    odds = exp(abs(milli) / 1_000)
    if odds < 1.1:
        return "says neither"
    return f"{'contradicts' if milli > 0 else 'fits'} it, {_short(odds)} to 1"


def _short(value: float) -> str:
    return f"{_two_digits(value):,}" if value >= 9.5 else f"{value:.1f}".removesuffix(".0")


def duration(us: int) -> str:
    """A length of time in its two largest units.

    Examples
    --------
    >>> duration(3 * 3600 * 1_000_000 + 12 * 60 * 1_000_000), duration(4_000_000)
    ('3 h 12 min', '4 s')
    """
    seconds = max(us, 0) // MICROSECONDS
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def moment(us: int) -> str:
    """A time in UTC, to the second.

    Examples
    --------
    >>> moment(0)
    '1970-01-01 00:00:00 UTC'
    """
    return datetime.fromtimestamp(us // MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    Examples
    --------
    >>> counted(1, "item"), counted(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
