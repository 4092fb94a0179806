"""The documents: their links lead somewhere, their examples are what they claim to be, and those that are marked run.

A fenced block is marked in its first line, after the language. The marked blocks of a page are followed from top to
bottom in one scratch folder, as if it lay in a clone: `../examples` and `../policies` are there.

- `python run`: executed; with `>>>` prompts its output is compared.
- `yaml run`: loaded as a policy.
- `console run`: each line after `$ ` is run by bash; what it prints is compared with the lines below it, in which
  `...` stands for anything. A line that sets a variable, as in `$ id=$(...)`, sets it for the rest of the page.
- `console start`: the one command is started and stays up until the page is done.
- any language, `file=NAME`: the block is written to that file.

A page names ports that are easily read; each is another, free one wherever marked blocks name it, so that pages can be
followed at the same time.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import doctest
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from feedback_guard.policy.loader import load_policy
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port

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


def those(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


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


MARKED = sorted({block.page for block in BLOCKS if block.marks & {"run", "start"}})


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", MARKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {command.split()[0] for block in BLOCKS if block.page == page for command, _ in commands(block.text)}
    if "node" in needs and shutil.which("node") is None:
        pytest.skip("the page needs Node")
    for name in ("examples", "policies"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "scratch")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "110")
    variables: dict[str, str] = {}
    ports = Ports()
    with contextlib.ExitStack() as servers:
        for block in BLOCKS:
            if block.page == page and block.marks:
                follow(dataclasses.replace(block, text=ports.substitute(block.text)), servers, variables)


class Ports:
    """Free ports instead of those that a page names, the same ones all over the page."""

    _NAMED = re.compile(r"(?<=--port[ =])\d+|(?<=127\.0\.0\.1:)\d+")

    def __init__(self) -> None:
        self._instead: dict[str, str] = {}

    def substitute(self, text: str) -> str:
        """A block with other ports. One that is new is looked for now, shortly before somebody listens on it."""
        for named in self._NAMED.findall(text):
            if named not in self._instead:
                chosen = (str(free_port()) for _ in range(100))
                self._instead[named] = next(port for port in chosen if port not in self._instead.values())
        text = self._NAMED.sub(lambda match: self._instead[match[0]], text)
        left = [port for port in self._instead if re.search(rf"\b{port}\b", text)]
        assert not left, f"a block names the ports {left} in a way that is not known here: {text}"
        return text


def test_the_ports_of_a_page_are_others_and_the_same_ones_all_over_it() -> None:
    ports = Ports()
    start = ports.substitute("$ serve --upstream http://127.0.0.1:5017 --port 8787 --admin 127.0.0.1:8788\n")
    parts = re.fullmatch(
        r"\$ serve --upstream http://127\.0\.0\.1:(\d+) --port (\d+) --admin 127\.0\.0\.1:(\d+)\n", start
    )
    assert parts
    assert len({*parts.groups(), "5017", "8787", "8788"}) == 6
    for port in parts.groups():
        assert not answers(int(port))
    assert (
        ports.substitute("$ curl 127.0.0.1:8787/a --max-time 5018") == f"$ curl 127.0.0.1:{parts[2]}/a --max-time 5018"
    )
    with pytest.raises(AssertionError, match="8787"):
        ports.substitute("const port = 8787;")


def follow(block: Block, servers: contextlib.ExitStack, variables: dict[str, str]) -> None:
    """Do what a marked block says."""
    for mark in block.marks:
        if mark.startswith("file="):
            Path(mark.removeprefix("file=")).write_text(block.text, encoding="utf-8")
    if "start" in block.marks:
        servers.enter_context(started(commands(block.text)[0][0]))
    elif "run" in block.marks and block.language == "yaml":
        Path("policy-of-the-page.yaml").write_text(block.text, encoding="utf-8")
        load_policy(Path("policy-of-the-page.yaml"))
    elif "run" in block.marks and block.language == "python":
        run_python(block)
    elif "run" in block.marks and block.language == "console":
        for command, expected in commands(block.text):
            compare(block, command, expected, variables)


def run_python(block: Block) -> None:
    if ">>>" in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, {}, str(block), str(block.page), block.line)
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
        assert not results.failed, "".join(said)
    else:
        exec(compile(block.text, str(block), "exec"), {"__name__": "__example__"})


def compare(block: Block, command: str, expected: str, variables: dict[str, str]) -> None:
    name = re.match(r"([a-z]+)=", command)
    script = f'{command}; printf %s "${name[1]}"' if name else command
    done = build(script) if BUILDS.fullmatch(script) else bash(script, variables)
    if name:
        variables[name[1]] = done.stdout
        return
    said = "\n".join(line.rstrip() for line in (done.stdout + done.stderr).splitlines())
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    assert re.fullmatch(pattern, said.strip(), re.DOTALL), f"{block}: $ {command}\n{said}"


def bash(script: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], env=os.environ | variables, capture_output=True, text=True, check=False
    )


BUILDS = re.compile(r"feedback-guard baseline build (\S+) --policy (\S+) --out (\S+)")
_BUILT: dict[tuple[bytes, str], tuple[subprocess.CompletedProcess[str], Path]] = {}
"""What was built of a trusted set with a model, and a copy of it."""


def build(command: str) -> subprocess.CompletedProcess[str]:
    """Build a baseline. It takes half a minute, so another page that builds the same gets the same once more."""
    names = BUILDS.fullmatch(command)
    assert names
    trusted, policy, out = (Path(name) for name in names.groups())
    made_of = trusted.read_bytes(), load_policy(policy).policy.embedding.model_dump_json()
    if made_of not in _BUILT:
        kept = Path(tempfile.mkdtemp(prefix="feedback-guard-tests-")) / "baseline"
        done = bash(command, {})
        assert done.returncode == 0, done.stderr
        shutil.copytree(out, kept)
        _BUILT[made_of] = done, kept
        return done
    done, kept = _BUILT[made_of]
    shutil.copytree(kept, out)
    return done


@pytest.fixture(scope="module", autouse=True)
def what_was_built_goes() -> Iterator[None]:
    yield
    for _, kept in _BUILT.values():
        shutil.rmtree(kept.parent)
    _BUILT.clear()


@contextlib.contextmanager
def started(command: str) -> Iterator[None]:
    """A server that is up, with the port that its command names, until it is left."""
    port = re.search(r"--port[ =](\d+)", command)
    assert port, f"which port is it? {command}"
    with (
        Path("server.log").open("ab") as log,
        subprocess.Popen(["bash", "-c", f"exec {command}"], stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 2 * PATIENCE_SECONDS
            while not answers(int(port[1])):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.1)
                assert server.poll() is None, Path("server.log").read_text()
                assert time.monotonic() < deadline, Path("server.log").read_text()
            yield
        finally:
            server.terminate()
            server.wait(PATIENCE_SECONDS)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def commands(text: str) -> list[tuple[str, str]]:
    """Pairs of a command and what it prints; a command goes on where a line ends with a backslash."""
    joined = text.replace("\\\n", " ")
    parts = re.split(r"^\$ (.*)$", joined, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))
