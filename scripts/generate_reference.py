"""Write the pages of docs/reference that are made from the code: of policies, commands and metrics.

Usage: python scripts/generate_reference.py [--check]

With --check nothing is written; the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import reference_commands
import reference_metrics
import reference_policy

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "policy.md": reference_policy.page,
    "commands.md": reference_commands.page,
    "metrics.md": reference_metrics.page,
}


def main() -> int:
    """Write the pages, or say whether they are up to date."""
    stale = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if "--check" not in sys.argv[1:]:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path} is out of date; run python scripts/generate_reference.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
