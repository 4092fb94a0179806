"""Bodies of forms and of JSON requests: read with a bound and a deadline, then taken apart strictly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from feedback_guard.review import bounds
from feedback_guard.review.problems import Refused


class DecisionBody(BaseModel):
    """The JSON of a decision.

    Parameters
    ----------
    version
        The version of the item that the decision is made on.
    note
        Stands in the ledger.
    content_sha256
        Digest of the content that the decision is made on, as the item has it; checked if it is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=0, le=2**31)]
    note: Annotated[str, Field(max_length=bounds.MAX_NOTE_CHARS)] = ""
    content_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


async def _read(request: Request, media_type: str) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise Refused(415, f"Send the body as {media_type}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "Send the body uncompressed.")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(bounds.BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bounds.MAX_BODY_BYTES:
                    raise Refused(413, f"A body has at most {bounds.MAX_BODY_BYTES:,} bytes here.")
                chunks.append(chunk)
    except TimeoutError:
        raise Refused(408, f"The body did not arrive within {bounds.BODY_SECONDS:g} seconds.") from None
    except ClientDisconnect:
        raise Refused(400, "The connection closed before the body was complete.") from None
    return b"".join(chunks)


async def read_form(request: Request) -> Mapping[str, str]:
    """Read a form. A field that stands twice is refused.

    Raises
    ------
    Refused
        If it is too large, too slow, or not a form.
    """
    body = await _read(request, "application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=bounds.MAX_FORM_FIELDS,
        )
    except ValueError:
        raise Refused(400, "The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Refused(400, "A field of the form stands twice.")
    return form


class CampaignBody(BaseModel):
    """The JSON of a decision on a campaign.

    Parameters
    ----------
    version, fence
        Of the campaign, as it was shown; members that joined later are not decided.
    odds_from, odds_below
        Only members that contradict their content with at least, or with less than, these odds to 1.
    members
        Only these, by number.
    undo
        Instead of held members: those that this decision moved, and nobody moved since.
    note
        Stands in the ledger, with every member.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=0, le=2**31)]
    fence: Annotated[int, Field(ge=0, le=2**53)]
    odds_from: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None
    odds_below: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None
    members: Annotated[list[Annotated[int, Field(ge=1, le=2**53)]], Field(min_length=1, max_length=200)] | None = None
    undo: Annotated[int, Field(ge=1, le=2**53)] | None = None
    note: Annotated[str, Field(max_length=bounds.MAX_NOTE_CHARS)] = ""


B = TypeVar("B", bound=BaseModel)


async def read_decision(request: Request) -> DecisionBody:
    """Read the JSON of a decision; see `read_json`."""
    return await read_json(request, DecisionBody)


async def read_json(request: Request, model: type[B]) -> B:
    """Read a JSON body. Duplicate keys and what is not JSON are refused.

    Raises
    ------
    Refused
        If it is too large, too slow, not JSON, or not what the model says; then it names the field.
    """
    body = await _read(request, "application/json")
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_never)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON without duplicate keys.") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # An unknown key's name comes from the client; it is not repeated.
        where = ".".join(str(part) for part in first["loc"]) if first["type"] != "extra_forbidden" else "an unknown key"
        raise Refused(422, f"{where or 'the body'}: {first['msg']}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _never(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
