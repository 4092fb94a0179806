"""What stays for as long as the process does is taken out of the garbage collector's sight.

Libraries, baseline and policy are a million objects and more. Looking through all of them for garbage stops everything
else for a tenth of a second, again and again, and finds nothing.

What is new is searched after every 700 objects, which is a dozen requests that are being answered: most of it is still
in use, and goes by itself when they are. So it is searched less often.
"""

from __future__ import annotations

import gc
import threading
from typing import Final

_once = threading.Lock()
YOUNG: Final = 10_000
"""New objects, beyond those that went by themselves, after which they are searched: at least so many."""


def keep_for_good() -> None:
    """Collect what is garbage by now, and never again look at what is there: it is taken to stay.

    What of it becomes garbage in a cycle later is not freed any more; what no cycle holds is freed as always. What is
    new is searched after `YOUNG` objects, unless somebody asked for even more, or wants nothing searched at all.
    """
    gc.collect()
    gc.freeze()
    young, *older = gc.get_threshold()
    if 0 < young < YOUNG:
        gc.set_threshold(YOUNG, *older)


def keep_for_good_once() -> bool:
    """The same in a process that is not the guard's own: the first time only, and not if its collector is turned off.

    Where applications are made and ended again and again, as in tests, each of them would be kept otherwise.

    Returns
    -------
    bool
        Whether it was done.
    """
    if not gc.isenabled() or not _once.acquire(blocking=False):
        return False
    keep_for_good()
    return True
