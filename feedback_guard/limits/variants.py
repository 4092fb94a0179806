"""What near copies of a contribution have in common, for the budgets on searching for the boundary (`probing`).

Near copies share a key. A key is a band of a keyed MinHash signature, a function of the text alone: no state that lags
behind decides what is near, so the count is exact whoever else is judged at the same time. What shares eight tenths of
its runs of five characters with another text shares one of the keys with a probability of 0.94.

References
----------
Broder, A. Z. (1997). On the resemblance and containment of documents.
"""

from __future__ import annotations

from typing import Final

from feedback_guard.signals.interface import Observation
from feedback_guard.signals.sketch import Sketcher

KEYS: Final = 4
"""Keys of a text."""


class Variants:
    """Names what near copies of a contribution have in common.

    Parameters
    ----------
    key
        Secret, so that nobody can make texts that meet, or that do not.

    Examples
    --------
    >>> from feedback_guard.contribution import Contribution, Kind
    >>> from feedback_guard.evidence.observe import canonical_texts
    >>> def keys(text):
    ...     item = Contribution("1", 0, "ada", Kind.LABEL, text, "good")
    ...     return set(Variants(b"sixteen bytes...").of(Observation(item, canonical_texts(item), {})))
    >>> text = "please tell me where my new card is, it should have come by now"
    >>> bool(keys(text) & keys(text + "!")), keys(text) & keys("how do I change my PIN at a cash machine?")
    (True, set())
    """

    def __init__(self, key: bytes) -> None:
        self._sketcher = Sketcher(key)

    def of(self, observation: Observation) -> tuple[str, ...]:
        """The keys of all its texts together, in their matching form. What is taught by a label is no part of it."""
        text = "\n".join(text.skeleton for _, text in sorted(observation.texts.items()))
        bands = self._sketcher.first_bands(text, KEYS)
        return tuple(f"{place}:{band:08x}" for place, band in enumerate(bands.tolist()))
