"""The attackers, by name: one that does not adapt as the yardstick, each way to adapt by itself, and combinations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from feedback_guard.errors import UsageError
from feedback_guard.redteam.covers import HonestWork, Turns
from feedback_guard.redteam.doses import Bisect, Plain
from feedback_guard.redteam.interface import Attacker, Cover, Dose, Pace, Wording
from feedback_guard.redteam.paces import Ramp, Steady
from feedback_guard.redteam.wordings import Paraphrase, Phrase, Split

_WORDINGS: Final[Mapping[str, Callable[[int], Wording]]] = {
    "phrase": lambda _: Phrase(),
    "split": Split,
    "paraphrase": lambda _: Paraphrase(),
}
_PACES: Final[Mapping[str, Callable[[], Pace]]] = {"steady": Steady, "ramp": Ramp}
_COVERS: Final[Mapping[str, Callable[[int], Cover]]] = {"in turn": Turns, "honest work": HonestWork}
_DOSES: Final[Mapping[str, Callable[[], Dose]]] = {"plain": Plain, "bisect": Bisect}

ATTACKS: Final[Mapping[str, tuple[str, str, str, str, str]]] = {
    "plain": ("phrase", "steady", "in turn", "plain", "one phrase, sent evenly by accounts in turn; adapts to nothing"),
    "split": ("split", "steady", "in turn", "plain", "six unknown words, two in a text; what is refused is replaced"),
    "paraphrase": ("paraphrase", "steady", "in turn", "plain", "one meaning in over a thousand wordings"),
    "ramp": ("phrase", "ramp", "in turn", "plain", "slow at first, faster as long as it is accepted"),
    "mixed": ("phrase", "steady", "honest work", "plain", "each account works honestly between its attempts"),
    "boundary": ("phrase", "steady", "in turn", "bisect", "adds just as much text of the wanted class as is needed"),
    "split-mixed": ("split", "steady", "honest work", "plain", "split, by accounts that work honestly"),
    "paraphrase-ramp": ("paraphrase", "ramp", "in turn", "plain", "paraphrases, slow at first"),
    "split-boundary": (
        "split",
        "steady",
        "in turn",
        "bisect",
        "split, with as much text of the wanted class as needed",
    ),
    "everything": ("split", "ramp", "honest work", "bisect", "split, slow at first, honest work, and the boundary"),
    "everything-said": ("paraphrase", "ramp", "honest work", "bisect", "the same with paraphrases"),
}
"""Names with wording, pace, cover, dose, and a story."""


def make_attacker(name: str, *, accounts: int, seed: int) -> Attacker:
    """Make an attacker that has seen nothing yet.

    Parameters
    ----------
    name
        One of `ATTACKS`.
    accounts
        How many she has.
    seed
        Of the words that she makes up.

    Raises
    ------
    UsageError
        If there is no such attacker.

    Examples
    --------
    >>> make_attacker("everything", accounts=20, seed=0).pace.name
    'ramp'
    """
    if name not in ATTACKS:
        raise UsageError(f"there is no attack {name!r}; there are {', '.join(ATTACKS)}")
    wording, pace, cover, dose, story = ATTACKS[name]
    return Attacker(name, story, _WORDINGS[wording](seed), _PACES[pace](), _COVERS[cover](accounts), _DOSES[dose]())
