r"""Reads `multipart/form-data`, if it has one reading.

Parsers of this format forgive much, and each something else: line feeds for line ends, space around a boundary,
preambles, folded and repeated header fields, `filename*`, escapes in names, transfer encodings. None of that is
written by browsers and HTTP clients, and all of it is refused here, so that what is left is read alike by all:

    --BOUNDARY\r\n
    Content-Disposition: form-data; name="label"\r\n
    \r\n
    card_arrival\r\n
    --BOUNDARY--\r\n

The boundary stands nowhere else. It takes linear time: the body is cut at the boundary, and nothing is searched twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from feedback_guard import settings
from feedback_guard.middleware.fields import Pair, check_name, check_value, malformed

BOUNDARY: Final = re.compile(r"[A-Za-z0-9_.'+-]{1,70}")
"""What a boundary may be: a token, without quotes needed anywhere."""

_END: Final = b"\r\n"
_HEADER: Final = re.compile(r"([A-Za-z-]{1,64}): ([^\x00-\x1f\x7f]*)")
_DISPOSITION: Final = re.compile(
    r'form-data; name=(?:"(?P<quoted>[^"\\]*)"|(?P<token>[A-Za-z0-9_.-]+))'
    r'(?:; filename=(?:"(?P<file>[^";\\]*)"|(?P<bare>[A-Za-z0-9_.-]+)))?'
)
_TEXT: Final = re.compile(r'text/plain(?:; charset=(?:utf-?8|"utf-?8"))?', re.IGNORECASE)
_FILE_TYPE: Final = re.compile(r"(?!multipart/)[A-Za-z0-9!#$&^_.+-]+/[\x20-\x7e]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a form holds.

    Parameters
    ----------
    pairs
        Names and texts of its fields, in their order.
    files
        Names of its files, in their order. Their content is not looked at.
    """

    pairs: tuple[Pair, ...]
    files: tuple[str, ...]


def read_parts(data: bytes, boundary: str, *, max_files: int = 0) -> Parts:
    r"""Read the fields of a form, and the names of its files.

    Parameters
    ----------
    data
        The whole body; its size is bounded by the caller.
    boundary
        From the media type; matches `BOUNDARY`.
    max_files
        Most files.

    Raises
    ------
    BadInputError
        400, with a sentence that says what is ambiguous or malformed.

    Examples
    --------
    >>> body = b'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\ncard_arrival\r\n--b--\r\n'
    >>> read_parts(body, "b").pairs
    (('label', 'card_arrival'),)
    """
    mark = b"--" + boundary.encode("ascii")
    if data.count(mark) > settings.MAX_FORM_FIELDS + settings.MAX_FORM_FILES + 1:
        raise malformed(f"A form holds more than {settings.MAX_FORM_FIELDS} fields.")
    before, *segments = data.split(mark)
    # Some clients begin with a line end; every parser passes over it.
    if before not in {b"", _END} or not segments:
        raise malformed("The body does not begin with its boundary.")
    if segments.pop() not in {b"--", b"--\r\n"}:
        raise malformed("The body does not end with its boundary, or something follows.")
    pairs: list[Pair] = []
    files: list[str] = []
    for segment in segments:
        if not segment.startswith(_END) or not segment.endswith(_END) or len(segment) < 2 * len(_END):
            raise malformed("The boundary stands where no part begins or ends.")
        _read_part(segment[2:], pairs, files)
    if len(pairs) > settings.MAX_FORM_FIELDS:
        raise malformed(f"A form holds more than {settings.MAX_FORM_FIELDS} fields.")
    if len(files) > max_files:
        raise malformed(f"A form holds at most {max_files} files here." if max_files else "Files are not taken here.")
    return Parts(tuple(pairs), tuple(files))


def _read_part(part: bytes, pairs: list[Pair], files: list[str]) -> None:
    head, separator, rest = part.partition(_END + _END)
    if not separator:
        raise malformed("A part has no header fields, or does not end.")
    # The line end before the next boundary belongs to the boundary.
    content = rest[:-2]
    if len(rest) < len(_END):
        raise malformed("A part does not end with a line end before the next boundary.")
    fields = _headers(head)
    disposition = _DISPOSITION.fullmatch(fields.get("content-disposition", ""))
    if disposition is None:
        raise malformed('A part needs Content-Disposition: form-data; name="…", and nothing besides but a filename.')
    name = disposition["quoted"] if disposition["quoted"] is not None else disposition["token"]
    check_name(name)
    filename = disposition["file"] if disposition["file"] is not None else disposition["bare"]
    media = fields.get("content-type")
    if filename is not None:
        if media is not None and not _FILE_TYPE.fullmatch(media):
            raise malformed("A file has a media type that is not read.")
        if not filename and content:
            raise malformed("A file has no name.")
        files.append(name)
        return
    if media is not None and not _TEXT.fullmatch(media):
        raise malformed("A field that is no file is text/plain in UTF-8; leave its Content-Type out.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("A field is not in UTF-8.") from None
    check_value(text)
    pairs.append((name, text))


def _headers(head: bytes) -> dict[str, str]:
    if len(head) > settings.MAX_PART_HEADER_BYTES:
        raise malformed(f"A part has more than {settings.MAX_PART_HEADER_BYTES} bytes of header fields.")
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise malformed("A part's header fields are not in UTF-8.") from None
    found: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise malformed("A part has a header field that is not read.")
        name = match[1].lower()
        if name not in {"content-disposition", "content-type"}:
            raise malformed("A part has a header field besides Content-Disposition and Content-Type.")
        if name in found:
            raise malformed("A part has a header field twice.")
        found[name] = match[2]
    return found
