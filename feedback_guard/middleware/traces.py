"""Says where an error came from without its message, which may repeat contributed text."""

from __future__ import annotations

import traceback
from typing import Final

_FRAMES: Final = 6


def place_of(error: BaseException) -> str:
    """Return the type of an error and the innermost lines that it came through.

    Examples
    --------
    >>> try:
    ...     {}["what a user wrote"]
    ... except KeyError as error:
    ...     place = place_of(error)
    >>> place.startswith("KeyError at "), "user" in place
    (True, False)
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    lines = " < ".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {lines}" if lines else type(error).__name__
