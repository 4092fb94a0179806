"""How the frameworks read a form, each with the parser that it comes with."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import parse_qsl

import multipart
from blacksheep import Request as BlackSheepRequest
from blacksheep.contents import ASGIContent
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser as DjangoParser
from falcon.media.multipart import MultipartFormHandler
from falcon.uri import parse_query_string
from litestar._multipart import parse_content_header, parse_multipart_form
from litestar._parsers import parse_url_encoded_form_data
from litestar.datastructures import UploadFile
from starlette.requests import Request
from werkzeug.wrappers import Request as WerkzeugRequest

import tests.frameworks.apps.django_settings  # noqa: F401 - Django reads nothing before it is configured

Fields = dict[str, list[str]]
"""Texts by name, in their order; files are left out."""


def _add(found: Fields, name: str, value: Any) -> None:
    if isinstance(value, str):
        found.setdefault(name, []).append(value)


def starlette(media: str, body: bytes) -> Fields:
    """As `await request.form()` reads it."""

    async def read() -> Fields:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", media.encode("latin-1"))]}
        found: Fields = {}
        async with Request(scope, receive).form(max_files=10_000, max_fields=10_000) as form:
            for name, value in form.multi_items():
                _add(found, name, value)
        return found

    return asyncio.run(read())


def werkzeug(media: str, body: bytes) -> Fields:
    """As `request.form` of Flask and Quart."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": media,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    }
    with WerkzeugRequest(environ) as request:
        return {name: list(values) for name, values in request.form.lists()}


def django(media: str, body: bytes) -> Fields:
    """As `request.POST` of Django."""
    if media.lower().startswith("multipart"):
        meta = {"CONTENT_TYPE": media, "CONTENT_LENGTH": len(body)}
        handlers = [MemoryFileUploadHandler(HttpRequest())]
        post, _ = DjangoParser(meta, io.BytesIO(body), handlers, "utf-8").parse()
    else:
        post = QueryDict(body, encoding="utf-8")
    return {name: list(values) for name, values in post.lists()}


def wsgi_multipart(media: str, body: bytes) -> Fields:
    """As the package `multipart` reads it."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": media,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    forms, files = multipart.parse_form_data(environ, strict=True, ignore_errors=False)
    for group in files.iterallitems():
        group[1].close()
    found: Fields = {}
    for name, value in forms.iterallitems():
        _add(found, name, value)
    return found


def standard_library(media: str, body: bytes) -> Fields:
    """As `urllib.parse`, and whatever is built upon it."""
    found: Fields = {}
    if media.lower().startswith("application"):
        for name, value in parse_qsl(body.decode("latin-1"), keep_blank_values=True, errors="replace"):
            _add(found, name, value)
    return found


def litestar(media: str, body: bytes) -> Fields:
    """As `await request.form()` of Litestar."""

    async def read() -> Fields:
        if not media.lower().startswith("multipart"):
            values = parse_url_encoded_form_data(body)
        else:
            options = parse_content_header(media)[1]

            async def stream() -> AsyncGenerator[bytes, None]:
                yield body

            values = await parse_multipart_form(stream(), options["boundary"].encode(), 10_000)
        found: Fields = {}
        for name, value in values.items():
            for item in value if isinstance(value, list) else [value]:
                _add(found, name, item)
                if isinstance(item, UploadFile):
                    await item.close()
        return found

    return asyncio.run(read())


def falcon(media: str, body: bytes) -> Fields:
    """As `req.get_media()` of Falcon."""
    found: Fields = {}
    if not media.lower().startswith("multipart"):
        for name, value in parse_query_string(body.decode("ascii"), keep_blank=True).items():
            for item in value if isinstance(value, list) else [value]:
                _add(found, name, item)
        return found
    for part in MultipartFormHandler().deserialize(io.BytesIO(body), media, len(body)):
        if part.filename:
            part.stream.read()
        else:
            _add(found, part.name or "", part.text)
    return found


def blacksheep(media: str, body: bytes) -> Fields:
    """As `await request.form()` of BlackSheep."""

    async def read() -> Fields:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        request = BlackSheepRequest("POST", b"/", [(b"content-type", media.encode("latin-1"))])
        request.content = ASGIContent(receive)
        form = await request.form()
        found: Fields = {}
        for name, value in (form or {}).items():
            for item in value if isinstance(value, list) else [value]:
                _add(found, name, item)
        return found

    return asyncio.run(read())


MULTIPART: list[Callable[[str, bytes], Fields]] = [
    starlette,
    werkzeug,
    django,
    litestar,
    falcon,
    blacksheep,
    wsgi_multipart,
]
URLENCODED: list[Callable[[str, bytes], Fields]] = [*MULTIPART, standard_library]
