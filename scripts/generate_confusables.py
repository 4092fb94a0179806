"""Write feedback_guard/text/confusables.tsv: letters that are easily taken for an ASCII letter.

Usage: python scripts/generate_confusables.py confusables.json VERSION

`confusables.json` is the file of the package confusable-homoglyphs (MIT), which holds the data of UTS #39
confusables.txt (Unicode-3.0). Kept are letters outside ASCII whose prototype, without diacritics, is one ASCII letter.
Letters that NFKD takes apart are left out: canonical form and the stripping of diacritics already resolve those.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "feedback_guard" / "text" / "confusables.tsv"
KEPT_APART = frozenset("µμ")  # micro stands beside Latin letters in every data sheet, and is no m

HEADER = """\
# Letters that are easily taken for an ASCII letter: code point, ASCII letter.
# A subset of confusables.txt of UTS #39, as confusable-homoglyphs {version} holds it,
# made by scripts/generate_confusables.py.
# Copyright (c) 1991-present Unicode, Inc. Licensed under the Unicode License V3 (SPDX: Unicode-3.0),
# whose text stands in confusables.LICENSE beside this file.
"""


def base_letter(text: str) -> str:
    """The ASCII letter under the diacritics, or nothing."""
    bare = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    bare = {"rn": "m"}.get(bare, bare)
    return bare.lower() if len(bare) == 1 and bare.isascii() and bare.isalpha() else ""


def looks_like(source: str, target: str) -> str:
    """The letter for a source; UTS #39 folds I to l, here each keeps the letter that its name says."""
    letter = base_letter(target)
    name = unicodedata.name(source, "")
    if letter == "l" and (name.endswith((" I", "IOTA", "IAUDA", "DOTLESS I")) or "UKRAINIAN I" in name):
        return "i"
    return letter


def main(path: str, version: str) -> None:
    """Read the prototypes, close them under case, write the table."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    prototype: dict[str, str] = {}
    for target, sources in data.items():
        for entry in sources:
            back = data.get(entry["c"], [])
            if len(back) == 1 and back[0]["c"] == target:
                prototype[entry["c"].strip("\u200e")] = target
    letters: dict[str, str] = {}
    for source in sorted(prototype):
        if len(source) != 1 or source.isascii() or not unicodedata.category(source).startswith("L"):
            continue
        if unicodedata.normalize("NFKD", source) != source or source in KEPT_APART:
            continue
        letter = looks_like(source, prototype[source])
        if letter:
            letters[source] = letter
    # A small letter without a prototype in ASCII takes that of its capital, which is mostly the same shape made small.
    for capital, letter in list(letters.items()):
        small = capital.lower()
        if len(small) == 1 and small not in letters and not small.isascii() and small not in KEPT_APART:
            letters[small] = letter
    for code in range(0x80, 0x10000):
        char = chr(code)
        name = unicodedata.name(char, "")
        if name.startswith("LATIN LETTER SMALL CAPITAL ") and len(name.rpartition(" ")[2]) == 1:
            letters.setdefault(char, name[-1].lower())
    lines = [f"{ord(char):04X}\t{letter}" for char, letter in sorted(letters.items())]
    OUT.write_text(HEADER.format(version=version) + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} letters in {OUT}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
