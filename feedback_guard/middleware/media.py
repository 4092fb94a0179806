"""What a request says its body is, and the reading of it: JSON, a form, or nothing.

A route takes only what it declares. What a body is called decides how the guard reads it, and the application too; so
a media type that leaves that open is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from feedback_guard.middleware.fields import as_object, malformed, share_a_name
from feedback_guard.middleware.multipart import BOUNDARY, read_parts
from feedback_guard.middleware.replies import BadInputError, bad_input
from feedback_guard.middleware.strict_json import parse_strictly
from feedback_guard.middleware.urlencoded import read_pairs
from feedback_guard.policy.forms import FormPolicy, Media

_JSON: Final = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")
_UTF_8: Final = frozenset({"utf-8", "utf8"})
_WORDS: Final = {
    Media.JSON: "JSON as application/json, or as a type that ends in +json",
    Media.URLENCODED: "a form as application/x-www-form-urlencoded",
    Media.MULTIPART: "a form as multipart/form-data",
    Media.EMPTY: "no body",
}


@dataclass(frozen=True, slots=True)
class View:
    """A body as the expressions see it.

    Parameters
    ----------
    value
        The JSON value; a form as an object of its fields; an empty object where there is no body, for in JMESPath
        every object made of null is null.
    files
        Names of a form's files, which are not in the value.
    """

    value: JsonValue
    files: frozenset[str] = frozenset()


Read = Callable[[bytes], View]
"""Reads a whole body; `BadInputError` if it has no reading, or two."""


def reader(headers: Iterable[tuple[bytes, bytes]], accepts: tuple[Media, ...], form: FormPolicy, query: bytes) -> Read:
    """Find how a body is read, from its header fields alone.

    Parameters
    ----------
    headers
        Of the request.
    accepts
        What the route takes.
    form
        How it takes forms.
    query
        The query, as it was sent. Some frameworks put its parameters and a form's fields into one object, so no name
        may stand in both.

    Raises
    ------
    BadInputError
        415: the route does not take this media type, it stands twice or has a charset other than UTF-8; or there is a
        Content-Encoding.
    """
    types: list[bytes] = []
    for name, value in headers:
        if name == b"content-type":
            types.append(value)
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise bad_input(415, "compressed_body", "Send the body uncompressed, without Content-Encoding.")
    if len(types) > 1:
        raise _not_taken(accepts, "Content-Type stands more than once.")
    missing = "" if types else "Content-Type is missing."
    found = _typed(types[0].decode("latin-1"), accepts, form, query) if types else None
    if Media.EMPTY not in accepts:
        if found is None:
            raise _not_taken(accepts, missing)
        return found

    def read(data: bytes) -> View:
        if not data:
            return View({})
        if found is None:
            raise _not_taken(accepts, missing)
        return found(data)

    return read


# A form's media type is taken only as clients write it: a framework that compares without folding capitals would see
# none, and might go on to read the body as something else.
def _typed(text: str, accepts: tuple[Media, ...], form: FormPolicy, query: bytes) -> Read | None:
    if text == "application/json" and Media.JSON in accepts:
        return _read_json
    media, *parameters = (part.strip() for part in text.split(";"))
    if Media.JSON in accepts and _JSON.fullmatch(media.lower()):
        _check_charset(parameters)
        return _read_json
    if Media.URLENCODED in accepts and media == "application/x-www-form-urlencoded":
        _form_parameters(parameters, ())
        return lambda data: _apart_from(query, _read_urlencoded(data, form))
    if Media.MULTIPART in accepts and media == "multipart/form-data":
        boundary = _form_parameters(parameters, ("boundary",)).get("boundary", "")
        if not BOUNDARY.fullmatch(boundary):
            raise bad_input(415, "media_type", "A boundary is 1 to 70 letters, digits, and _ . ' + -")
        return lambda data: _apart_from(query, _read_multipart(data, boundary, form))
    return None


def _read_json(data: bytes) -> View:
    return View(parse_strictly(data))


def _read_urlencoded(data: bytes, form: FormPolicy) -> View:
    return View(as_object(read_pairs(data), lists=form.lists))


def _read_multipart(data: bytes, boundary: str, form: FormPolicy) -> View:
    parts = read_parts(data, boundary, max_files=form.files)
    return View(as_object(parts.pairs, lists=form.lists, files=parts.files), frozenset(parts.files))


def _apart_from(query: bytes, view: View) -> View:
    if not query or not isinstance(view.value, dict):
        return view
    if share_a_name(view.value.keys() | view.files, (name for name, _ in read_pairs(query, names=False))):
        raise malformed("A name stands both in the form and in the query.")
    return view


def _check_charset(parameters: list[str]) -> None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF_8:
            raise bad_input(415, "not_utf8", "JSON is sent in UTF-8; leave the charset out.")


def _form_parameters(parameters: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """Parameters of a form's media type, each once; `charset` may say UTF-8."""
    found: dict[str, str] = {}
    for parameter in parameters:
        name, separator, value = parameter.partition("=")
        if not separator or name in found or name not in {*known, "charset"}:
            raise bad_input(415, "media_type", "The media type has a parameter twice, or one that is not read.")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found[name] = value
    if found.get("charset", "utf-8").lower() not in _UTF_8:
        raise bad_input(415, "not_utf8", "A form is sent in UTF-8; leave the charset out.")
    return found


def _not_taken(accepts: tuple[Media, ...], detail: str) -> BadInputError:
    words = [_WORDS[media] for media in accepts]
    send = f"Send {', or '.join(words)}."
    code = "not_json" if accepts == (Media.JSON,) else "media_type"
    return bad_input(415, code, f"{detail} {send}".strip())
