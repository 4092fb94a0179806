"""The examples in the docstrings of the package say what really comes out."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "feedback_guard").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_some() -> None:
    assert len(WITH_EXAMPLES) > 50


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_come_out_as_written(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    said: list[str] = []
    results = [
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module)
    ]
    assert not sum(result.failed for result in results), "".join(said)
    assert sum(result.attempted for result in results)
