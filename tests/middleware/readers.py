"""How other parsers read a form: those of Starlette, Werkzeug (Flask, Quart), Django, Falcon's and Litestar's kind."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import multipart
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser as DjangoParser
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


MULTIPART: list[Callable[[str, bytes], Fields]] = [starlette, werkzeug, django, wsgi_multipart]
URLENCODED: list[Callable[[str, bytes], Fields]] = [starlette, werkzeug, django, wsgi_multipart, standard_library]
