"""Forms as clients really write them: each is taken, and read as it was meant."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from werkzeug.test import EnvironBuilder

import tests.frameworks.apps.django_settings  # noqa: F401 - Django writes nothing before it is configured
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.middleware.fakes import FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving

FIELDS = {"input": 'wo ist é\r\n& = + %41; 😀 "x"?', "label": "card_arrival", "empty": ""}
ROUTE = {
    "name": "f",
    "path": "/feedback",
    "accepts": ["urlencoded", "multipart"],
    "form": {"files": 2},
    "extract": "{kind: 'label', input: input, label: label}",
}


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[Serving, FakeGuard]]:
    async def endpoint(request: Request) -> JSONResponse:
        async with request.form() as form:
            return JSONResponse({name: value for name, value in form.items() if isinstance(value, str)})

    guard = FakeGuard(make_policy([ROUTE]))
    app = Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])])
    with Serving(FeedbackGuardMiddleware(app, guard=guard), lifespan="off") as server:
        yield server, guard


def httpx_urlencoded(server: Serving) -> int:
    return httpx2.post(f"{server.url}/feedback", data=FIELDS).status_code


def httpx_multipart(server: Serving) -> int:
    files = {"shot": ("ä b.png", b"\x89PNG\x00--", "image/png")}
    return httpx2.post(f"{server.url}/feedback", data=FIELDS, files=files).status_code


def werkzeug_writes(server: Serving, **options: Any) -> int:
    # Werkzeug's test client writes no line end after an empty value, and leaves `;` as it is: both are refused.
    fields = {name: value.replace(";", ",") for name, value in FIELDS.items() if value}
    builder = EnvironBuilder(method="POST", data=dict(fields) | options)
    environ = builder.get_environ()
    body, media = environ["wsgi.input"].read(), environ["CONTENT_TYPE"]
    builder.close()
    return server.post("/feedback", body, {"content-type": media}).status


def werkzeug_urlencoded(server: Serving) -> int:
    return werkzeug_writes(server)


def werkzeug_multipart(server: Serving) -> int:
    return werkzeug_writes(server, shot=(io.BytesIO(b"\x00file"), "a.png"))


def django_multipart(server: Serving) -> int:
    body = encode_multipart(BOUNDARY, FIELDS | {"shot": SimpleUploadedFile("a.png", b"\x00file")})
    return server.post("/feedback", body, {"content-type": MULTIPART_CONTENT}).status


def curl(server: Serving, *arguments: str) -> int:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("needs curl")
    done = subprocess.run(
        [program, "-sS", "-o", "/dev/null", "-w", "%{http_code}", *arguments, f"{server.url}/feedback"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return int(done.stdout)


def curl_urlencoded(server: Serving) -> int:
    return curl(server, *(part for name, value in FIELDS.items() for part in ("--data-urlencode", f"{name}={value}")))


def curl_multipart(server: Serving) -> int:
    return curl(server, *(part for name, value in FIELDS.items() for part in ("--form-string", f"{name}={value}")))


CLIENTS: list[Callable[[Serving], int]] = [
    httpx_urlencoded,
    httpx_multipart,
    werkzeug_urlencoded,
    werkzeug_multipart,
    django_multipart,
    curl_urlencoded,
    curl_multipart,
]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_what_a_client_writes_is_taken_and_read_as_it_was_meant(
    client: Callable[[Serving], int], serving: tuple[Serving, FakeGuard]
) -> None:
    server, guard = serving
    before = len(guard.kept)
    assert client(server) == 200
    assert len(guard.kept) == before + 1
    (contribution,) = guard.kept[f"s-{before + 1}"].submission.contributions
    assert contribution.label == FIELDS["label"]
    assert contribution.input.replace(";", ",") == FIELDS["input"].replace(";", ",")
