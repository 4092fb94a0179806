"""The part of a route that says which bodies it takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from feedback_guard import settings
from feedback_guard.policy.base import Strict


class Media(StrEnum):
    """What a body may be."""

    JSON = "json"
    URLENCODED = "urlencoded"
    MULTIPART = "multipart"
    EMPTY = "empty"


FieldName = Annotated[str, Field(min_length=1, max_length=settings.MAX_FIELD_NAME_CHARS)]


class FormPolicy(Strict):
    """How a route takes forms; for routes that accept `urlencoded` or `multipart`."""

    lists: tuple[FieldName, ...] = Field((), max_length=64)
    """Fields that may stand several times, such as `tags[]`. The expression sees a list of texts, also of one. Any
    other field that stands twice is refused."""
    files: int = Field(0, ge=0, le=settings.MAX_FORM_FILES)
    """Most files in a multipart form. They reach the application unread; `max_body_bytes` bounds them too."""

    @field_validator("lists")
    @classmethod
    def _each_once(cls, lists: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(lists)) != len(lists):
            raise ValueError("a field stands twice in `lists`; remove one")
        return lists
