"""Django's views and urls; `django_settings` comes first."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from ninja import File, Form, NinjaAPI, Schema
from ninja.files import UploadedFile

from tests.frameworks.desk import Desk

DESK = "tests.desk"
"""Django's settings and urls are the process's own: the applications of the suite share them, not the desk."""


class Feedback(Schema):
    """What a user says."""

    input: str
    label: str


api = NinjaAPI(urls_namespace="suite")


def desk_of(request: HttpRequest) -> tuple[Desk, Any]:
    scope = request.scope
    return scope[DESK], scope


@api.get("/feedback")
def read(request: HttpRequest) -> dict[str, str]:
    return {"method": "GET"}


@api.post("/feedback")
def feedback(request: HttpRequest, item: Feedback) -> dict[str, Any]:
    desk, scope = desk_of(request)
    return desk.saw("feedback", scope, request.body) | {"label": item.label}


@api.post("/items/{item}/rating")
def rating(request: HttpRequest, item: str) -> dict[str, Any]:
    desk, scope = desk_of(request)
    return desk.saw("rating", scope, request.body) | {"item": item}


@api.post("/form")
@api.post("/judged-form")
def form(request: HttpRequest, label: Form[str], file: File[UploadedFile]) -> dict[str, Any]:
    return Desk.seen(file.read()) | {"label": label}


async def wait(request: HttpRequest) -> JsonResponse:
    desk, scope = desk_of(request)
    answer = desk.saw("wait", scope, request.body)
    await desk.wait_async(request.body)
    return JsonResponse(answer)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    desk, scope = desk_of(request)
    desk.saw("stream", scope, request.body)
    return StreamingHttpResponse(desk.stream(request.body))


async def upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse(Desk.seen(request.body))


urlpatterns = [path("wait", wait), path("stream", stream), path("upload", upload), path("", api.urls)]
