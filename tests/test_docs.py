"""The documents: their links lead somewhere, their examples are what they claim to be, and those marked `run` run.

A fenced block is marked in its first line, after the language:

- `python run`: executed; with `>>>` prompts its output is compared.
- `yaml run`: loaded as a policy.
- `console run`: each line after `$ ` is run by bash in a scratch folder that has `examples/` and `policies/`; what it
  prints is compared with the lines below it, in which `...` stands for anything.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from feedback_guard.policy.loader import load_policy

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    marks: frozenset[str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    fence = re.compile(r"^```([a-z]*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in fence.finditer(text):
            line = text[: match.start()].count("\n") + 1
            yield Block(page, line, match[1], frozenset(match[2].split()), match[3])


BLOCKS = list(blocks())


def those(language: str, mark: str = "") -> list[Block]:
    return [block for block in BLOCKS if block.language == language and (not mark or mark in block.marks)]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    for name in ("examples", "policies"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]:\s+(\S+)", text, re.MULTILINE)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.relative_to(ROOT)} links to {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("block", those("python"), ids=str)
def test_python_examples_are_python(block: Block) -> None:
    if ">>>" in block.text:
        assert doctest.DocTestParser().get_examples(block.text)
    else:
        ast.parse(block.text)


@pytest.mark.parametrize("block", those("yaml"), ids=str)
def test_yaml_examples_are_yaml(block: Block) -> None:
    yaml.safe_load(block.text)


@pytest.mark.parametrize("block", those("yaml", "run"), ids=str)
def test_policies_in_the_documents_load(block: Block, scratch: Path) -> None:
    file = scratch / "policy.yaml"
    file.write_text(block.text, encoding="utf-8")
    load_policy(file)


@pytest.mark.parametrize("block", those("python", "run"), ids=str)
def test_python_in_the_documents_runs(block: Block, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scratch)
    if ">>>" in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, {}, str(block), str(block.page), block.line)
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
        assert not results.failed, "".join(said)
    else:
        exec(compile(block.text, str(block), "exec"), {"__name__": "__example__"})


@pytest.mark.parametrize("block", those("console", "run"), ids=str)
def test_commands_in_the_documents_say_what_is_written_there(block: Block, scratch: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    for command, expected in commands(block.text):
        done = subprocess.run(
            ["bash", "-c", command], cwd=scratch, env=environment, capture_output=True, text=True, check=False
        )
        said = "\n".join(line.rstrip() for line in (done.stdout + done.stderr).splitlines())
        pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
        assert re.fullmatch(pattern, said.strip(), re.DOTALL), f"{block}: $ {command}\n{said}"


def commands(text: str) -> list[tuple[str, str]]:
    """Pairs of a command and what it prints; a command goes on where a line ends with a backslash."""
    joined = text.replace("\\\n", " ")
    parts = re.split(r"^\$ (.*)$", joined, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))
