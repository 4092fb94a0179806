"""What every part of the policy is made of: strict models, durations with a unit, names, expressions."""

from __future__ import annotations

import re
from typing import Annotated, Protocol, TypeVar

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
)

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> object:
    """Read `"250ms"`, `"30s"`, `"15m"`, `"6h"` or `"7d"` as microseconds; an integer already is microseconds.

    Examples
    --------
    >>> parse_duration("1.5s")
    1500000
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match:
            raise ValueError('a duration is a number with ms, s, m, h or d, such as "30s"')
        return round(float(match[1]) * _UNITS[match[2]] * MICROSECONDS)
    return value


def _read_duration(value: object, info: ValidationInfo) -> object:
    """A policy file must name the unit: nobody writes 30 and means microseconds."""
    if info.context == FROM_FILE and not isinstance(value, str):
        raise ValueError('a duration is a number with ms, s, m, h or d, such as "30s"')
    return parse_duration(value)


FROM_FILE = "policy file"
"""Validation context of what was read from a file."""
DURATION_SCHEMA: dict[str, JsonValue] = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?(ms|s|m|h|d)\s*$"}
"""A duration as editors see it."""
MAX_DURATION_US = 3_660 * 86_400 * MICROSECONDS
"""Longest duration, in microseconds: ten years and some days."""

Duration = Annotated[
    int,
    BeforeValidator(_read_duration),
    Field(ge=0, le=MAX_DURATION_US),
    WithJsonSchema(DURATION_SCHEMA),
]
"""Microseconds inside; a text with a unit in the file."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
RoutePath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/")]
Waiver = Annotated[str, Field(max_length=512, pattern=r"^((POST|PUT|PATCH|DELETE) )?/\S*$")]
"""A method or none, and a path in which `*` stands for anything."""


def _compiles(expression: str) -> str:
    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        said = str(error).removeprefix("Invalid jmespath expression: ").splitlines()[0]
        raise ValueError(f"not a JMESPath expression: {said}") from None
    return expression


Expression = Annotated[str, Field(min_length=1, max_length=settings.MAX_EXPRESSION_CHARS), AfterValidator(_compiles)]


class Strict(BaseModel):
    """No unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Named(Protocol):
    """What is called by its name in ledger, metrics and answers."""

    @property
    def name(self) -> str:
        """The name."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


def unique(items: tuple[NamedT, ...]) -> tuple[NamedT, ...]:
    """The items, if no two have one name."""
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands twice")
    return items
