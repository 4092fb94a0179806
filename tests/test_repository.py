"""The repository itself: what was promised once stays so, in every tracked file."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import feedback_guard
from feedback_guard.cli.main import COMMANDS
from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "feedback_guard"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

THIS = Path(__file__).resolve()
CLOCK = PACKAGE / "clock.py"
MIGRATIONS = PACKAGE / "store" / "migrations"


def tracked() -> list[Path]:
    """The files that belong to the repository: what git tracks, and what is about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


FORBIDDEN = {
    "a path outside of the repository": re.compile(r"\.\./shared|(?<![\w.])/(?:work|root|home/\w+)/"),
    "a host of a package registry": re.compile(
        r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|download\.pytorch|proxy\.golang)"
    ),
    "unfinished work": re.compile(r"\b(?:TODO|FIXME|XXX)\b"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    found = [
        f"{named(path)}:{text[: match.start()].count(chr(10)) + 1}: {match[0]}"
        for path in tracked()
        if path != THIS and (text := text_of(path)) is not None
        for match in FORBIDDEN[what].finditer(text)
    ]
    assert not found, found


def test_types_stay_strict() -> None:
    mypy = PROJECT["tool"]["mypy"]
    assert mypy["strict"] is True
    assert set(mypy["files"]) >= {"feedback_guard", "tests", "examples", "benchmarks"}
    assert "ignore-without-code" in mypy["enable_error_code"]
    for override in mypy["overrides"]:
        assert set(override) == {"module", "ignore_missing_imports"}, "only missing stubs of others may be excused"
        assert not any(module.startswith(("feedback_guard", "tests")) for module in override["module"])
    switched_off = [named(path) for path in tracked() if path.suffix == ".py" and "# mypy:" in path.read_text()]
    assert switched_off in ([], [named(THIS)])


def test_warnings_stay_errors() -> None:
    pytest_options = PROJECT["tool"]["pytest"]["ini_options"]
    assert pytest_options["filterwarnings"][0] == "error"
    assert pytest_options["xfail_strict"] is True
    for option in ("--strict-markers", "--strict-config"):
        assert option in pytest_options["addopts"]


def test_what_is_installed_is_pinned() -> None:
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    wanted = {re.split(r"[\[<>=~ ]", requirement)[0].lower() for group in groups for requirement in group}
    wanted -= {"feedback-guard"}
    missing = {name for name in wanted if name.replace("_", "-") not in {pin.replace("_", "-") for pin in pins}}
    assert not missing, f"constraints.txt has no {sorted(missing)}"
    assert pins["torch"] == "2.13.0"


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert feedback_guard.__version__ == version
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body and path.name != "__init__.py":
        assert ast.get_docstring(tree), f"{named(path)} has no docstring"


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module)
    return found


DOORS = {"middleware", "gateway", "review", "cli", "doors"}
"""Folders that lead to the guard; nothing below the guard knows of them."""
OUTSIDE = ("starlette", "fastapi", "uvicorn", "typer", "rich", "jinja2", "httpx2")
CORE = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] not in DOORS | {"__main__.py", "__init__.py"}]


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_core_knows_nothing_of_its_doors(path: Path) -> None:
    refused = tuple(f"feedback_guard.{door}" for door in sorted(DOORS)) + OUTSIDE
    upward = {
        name for name in imports_of(path) if any(name == other or name.startswith(f"{other}.") for other in refused)
    }
    assert not upward, f"{named(path)} imports {sorted(upward)}"


TIME_CALLS = {("time", "time"), ("time", "time_ns"), ("time", "sleep"), ("datetime", "now"), ("datetime", "utcnow")}


@pytest.mark.parametrize("path", [path for path in MODULES if path != CLOCK], ids=named)
def test_time_is_injected(path: Path) -> None:
    asked = [
        f"{named(path)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in TIME_CALLS
    ]
    assert not asked, f"the system's time is asked for outside of clock.py: {asked}"


def test_the_makefile_offers_what_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= {"demo", "test", "bench", "lint", "docs-reference"}
    pages = [path for path in tracked() if path.suffix == ".md"]
    named_in_docs = {
        (named(path), target)
        for path in pages
        for target in re.findall(r"^(?:\$ |    |`)?make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {target for _, target in named_in_docs} <= targets, named_in_docs


def test_the_documents_name_only_commands_that_exist() -> None:
    unknown = {
        f"{named(path)}: feedback-guard {name}"
        for path in tracked()
        if path.suffix == ".md"
        for name in re.findall(r"(?:^|[`$] ?|    )feedback-guard ([a-z]+)\b", path.read_text(), re.MULTILINE)
        if name not in COMMANDS
    }
    assert not unknown, unknown


def test_the_readme_has_every_command_and_the_reference_every_subcommand() -> None:
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs/reference/commands.md").read_text()
    for name in COMMANDS:
        row = re.search(rf"^\| `feedback-guard {name}\b([^`]*)`", readme, re.MULTILINE)
        assert row, name
        for sub in re.findall(r"[a-z-]+(?=\\\||$)", row[1]) if "\\|" in row[1] else []:
            assert f"## `{name} {sub}`" in page, f"{name} {sub}"


def test_ci_runs_what_a_developer_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert re.search(r"^timeout \d+ make test$", script, re.MULTILINE)
    assert "CI=true" in script
    for name in (".ci/run", "scripts/services"):
        assert (ROOT / name).stat().st_mode & 0o111, f"{name} is not executable"


def test_the_files_that_tests_begin_with_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_services_names_what_is_missing_and_fails(tmp_path: Path) -> None:
    for name in ("sh", "find", "sort", "tail"):
        there = shutil.which(name)
        assert there is not None
        (tmp_path / name).symlink_to(there)
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "services"), "--check"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"^promtool +not found$", done.stdout, re.MULTILINE)
    assert "chromium prometheus" in done.stderr
