"""From a file to a policy: read within bounds, built upon others by `extends`, checked as a whole, with a digest.

Every problem is reported, not only the first, each as `FILE:LINE: key.path: what is wrong; allowed values: ...`, with
the line of the file in which the value stands.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rfc8785
from pydantic import ValidationError

from feedback_guard import settings
from feedback_guard.errors import PolicyError
from feedback_guard.policy import explain
from feedback_guard.policy.base import FROM_FILE
from feedback_guard.policy.schema import Policy
from feedback_guard.policy.tree import Mapping, Mark, Node, Problem, Scalar, Sequence, Unreadable, merge, parse, plain

MAX_EXTENDS: Final = 8
"""Most files that one policy is built of."""

_PRESET = re.compile(r"(?:hosts/)?[a-z0-9][a-z0-9_-]{0,63}")
_FOLDERS: Final = (
    Path(__file__).resolve().parent.parent / "presets",  # in an installed package
    Path(__file__).resolve().parent.parent.parent / "policies",  # in a working copy
)


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with its digest and the files it was built of.

    Parameters
    ----------
    policy
        Validated.
    digest
        `sha256:` and 64 hexadecimal digits; equal for equal decisions, whatever the files' wording.
    files
        The file itself, then what it extends, as they were named.
    dropped
        Names of budgets that a file below has, and that are gone because a list replaces the list below it.
    """

    policy: Policy
    digest: str
    files: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def policy_digest(policy: Policy) -> str:
    """SHA-256 of the whole policy, defaults included, as canonical JSON (RFC 8785).

    Examples
    --------
    >>> policy_digest(Policy()) == policy_digest(Policy(mode="enforce"))
    True
    """
    return "sha256:" + hashlib.sha256(rfc8785.dumps(policy.model_dump(mode="json"))).hexdigest()


def presets() -> dict[str, Path]:
    """The policies that come with the package, by name."""
    for folder in _FOLDERS:
        found = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}
        if found:
            return found
    return {}


def load_policy(source: str | Path) -> LoadedPolicy:
    """Read, merge and check a policy.

    Parameters
    ----------
    source
        The path of a policy file, or, as a text, the name of a preset: `observe`, `balanced` or `strict`.

    Raises
    ------
    PolicyError
        Naming every problem with file, line, key and the allowed values.

    Examples
    --------
    >>> load_policy("strict").policy.signals.false_hold_rate
    0.03
    """
    wrong: list[Problem] = []
    files: list[str] = []
    below: list[str] = []
    try:
        root = _read(_resolve(source), files, wrong, below)
    except Unreadable as error:
        raise PolicyError("\n".join(map(str, [*wrong, error.problem]))) from None
    policy = _validate(root, wrong)
    if wrong or policy is None:
        raise PolicyError("\n".join(map(str, sorted(wrong, key=lambda problem: problem.mark))))
    kept = {limit.name for limit in policy.limits}
    dropped = tuple(name for name in dict.fromkeys(below) if name not in kept)
    return LoadedPolicy(policy, policy_digest(policy), tuple(files), dropped)


def _resolve(source: str | Path) -> Path:
    if isinstance(source, Path) or not _PRESET.fullmatch(source):
        return Path(source)
    return presets().get(source, Path(source))


def _validate(root: Mapping, wrong: list[Problem]) -> Policy | None:
    # JSON is the strict border: a quoted number is no number there, and nothing is coerced by Python's rules.
    try:
        return Policy.model_validate_json(json.dumps(plain(root)), strict=True, context=FROM_FILE)
    except ValidationError as error:
        wrong.extend(explain.problems(error, root))
        return None


def _read(file: Path, files: list[str], wrong: list[Problem], budgets: list[str]) -> Mapping:
    """Read a file and, first, what it extends; note the names of the budgets that it builds on."""
    files.append(str(file))
    root, problems = parse(_text(file), str(file))
    wrong.extend(problems)
    if "extends" not in root.entries:
        return root
    base, mark = root.entries.pop("extends"), root.keys.pop("extends")
    if not isinstance(base, Scalar) or not isinstance(base.value, str):
        wrong.append(Problem(mark, ("extends",), f"names one preset ({', '.join(presets())}) or one policy file"))
        return root
    target = presets().get(base.value) or file.parent / base.value
    if any(target.absolute().resolve() == Path(seen).absolute().resolve() for seen in files):
        raise Unreadable(Problem(mark, ("extends",), f"a circle: {' extends '.join([*files, str(target)])}"))
    if len(files) >= MAX_EXTENDS:
        raise Unreadable(Problem(mark, ("extends",), f"more than {MAX_EXTENDS} files build on each other; merge some"))
    if not target.is_file():
        known = f"presets: {', '.join(presets())}; files are looked for beside {file}"
        raise Unreadable(Problem(mark, ("extends",), f"{base.value!r} is neither a preset nor a file; {known}"))
    below = _read(target, files, wrong, budgets)
    budgets += _names(below.entries.get("limits"))
    merged = merge(below, root)
    return merged if isinstance(merged, Mapping) else root


def _names(items: Node | None) -> list[str]:
    """The names in a list of mappings."""
    if not isinstance(items, Sequence):
        return []
    names = [item.entries.get("name") for item in items.items if isinstance(item, Mapping)]
    return [name.value for name in names if isinstance(name, Scalar) and isinstance(name.value, str)]


def _text(file: Path) -> str:
    """The file as text, read no further than its bound."""
    top = Mark(str(file), 1)
    try:
        if not file.exists():
            known = f"a path, or one of the presets {', '.join(presets())}"
            raise Unreadable(Problem(top, (), f"there is no such file; a policy is {known}"))
        if not file.is_file():
            raise Unreadable(Problem(top, (), "is not a file; name the policy file itself"))
        with file.open("rb") as stream:
            data = stream.read(settings.MAX_POLICY_BYTES + 1)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(Problem(top, (), f"cannot be read: {said}")) from None
    if len(data) > settings.MAX_POLICY_BYTES:
        raise Unreadable(Problem(top, (), f"is larger than {settings.MAX_POLICY_BYTES} bytes; no policy needs that"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(Problem(Mark(str(file), line), (), "is not a text in UTF-8")) from None
