"""What stays for as long as the process does is taken out of the garbage collector's sight.

Libraries, baseline and policy are a million objects and more. Looking through all of them for garbage stops everything
else for a tenth of a second, again and again, and finds nothing.
"""

from __future__ import annotations

import gc
import threading

_once = threading.Lock()


def keep_for_good() -> None:
    """Collect what is garbage by now, and never again look at what is there: it is taken to stay.

    What of it becomes garbage in a cycle later is not freed any more; what no cycle holds is freed as always.
    """
    gc.collect()
    gc.freeze()


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
