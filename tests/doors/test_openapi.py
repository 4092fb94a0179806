"""Documents from files, from a server of this machine and from nowhere else; and the command over all of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import RedirectResponse

from feedback_guard.cli.main import run
from feedback_guard.doors import openapi
from feedback_guard.doors.openapi import ask, doors_in, load
from feedback_guard.errors import UsageError
from tests.serving import Serving

YAML = (
    "openapi: 3.0.0\npaths:\n  /a/{id}:\n    post: {}\n    get: {}\n    parameters: []\n  /b: {delete: {}, x-own: 1}\n"
)
POLICY = """\
mode: observe
routes: [{name: feedback, path: /feedback, extract: "@"}]
ignore: [POST /login]
"""
APP = """\
from fastapi import FastAPI
app = FastAPI()
app.post("/feedback")(lambda: None)
app.post("/login")(lambda: None)
def make():
    app.put("/feedback/{id}")(lambda: None)
    return app
number = 7
"""


def names(found: Any) -> set[str]:
    return {str(door) for door in found.doors}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "doors_app.py").write_text(APP)
    yield tmp_path
    sys.modules.pop("doors_app", None)


def doctor(*arguments: str) -> int:
    return run(["doctor", "--policy", "policy.yaml", *arguments])


def test_files_in_json_and_yaml(tmp_path: Path) -> None:
    for name, text in (("a.yaml", YAML), ("a.json", json.dumps({"openapi": "3.1.0", "paths": {"/b": {"put": {}}}}))):
        (tmp_path / name).write_text(text)
    assert names(load(str(tmp_path / "a.yaml"))) == {"POST /a/{id}", "DELETE /b"}
    assert names(load(str(tmp_path / "a.json"))) == {"PUT /b"}


def test_swagger_has_its_prefix_in_the_document() -> None:
    assert names(doors_in({"swagger": "2.0", "basePath": "/v1/", "paths": {"/b": {"put": {}}}}, "x")) == {"PUT /v1/b"}


def test_another_document_is_said_not_to_be_looked_into() -> None:
    found = doors_in({"openapi": "3.1.0", "paths": {"/b": {"$ref": "b.yaml"}}}, "x")
    assert found.dark == {"/b": "its operations stand in another document"}


@pytest.mark.parametrize("text", ["", "[]", "{", "a: [", '{"openapi": "3"}x', "openapi: 3\npaths: []", '{"paths": {}}'])
def test_what_is_no_document_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        load(str(file))


def test_a_document_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "MAX_BYTES", 20)
    (tmp_path / "a.yaml").write_text(YAML)
    with pytest.raises(UsageError, match="larger than 20 bytes"):
        load(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    "url", ["http://example.com/openapi.json", "http://10.0.0.1/", "https://[::2]/", "http://:80/"]
)
def test_no_other_machine_is_asked(url: str) -> None:
    with pytest.raises(UsageError, match="only an address of this machine"):
        load(url)


def test_a_server_of_this_machine_is_asked_and_no_redirect_is_followed() -> None:
    app = FastAPI()
    app.post("/feedback")(lambda: None)
    app.add_route("/elsewhere", lambda _: RedirectResponse("/openapi.json"))
    with Serving(app) as server:
        assert names(load(server.url + "/openapi.json")) == {"POST /feedback"}
        for path in ("/elsewhere", "/nowhere"):
            with pytest.raises(UsageError, match="answers"):
                load(server.url + path)
        port = server.port
    with pytest.raises(UsageError, match="cannot be read"):
        load(f"http://127.0.0.1:{port}/openapi.json")


def test_an_application_that_tells_no_routes_is_asked_for_its_document() -> None:
    inner = FastAPI(openapi_url="/api/openapi.json")
    inner.post("/feedback")(lambda: None)

    async def dark(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    found = ask(dark)
    assert found is not None
    assert names(found) == {"POST /feedback"}
    assert ask(broken) is None


def test_the_command_is_clean_with_a_covering_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--app", "doors_app:app") == 0
    assert "POST /feedback" in capsys.readouterr().out


def test_the_command_names_a_side_door_and_how_to_close_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--app", "doors_app:make", "--factory") == 1
    out = capsys.readouterr().out
    assert "PUT /feedback/{id}" in out
    assert "- PUT /feedback/*" in out
    assert "path: /feedback/{id}" in out


def test_the_command_reads_a_document(folder: Path) -> None:
    (folder / "api.yaml").write_text(YAML)
    assert doctor("--openapi", "api.yaml") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--app", "doors_app"], "write MODULE:ATTRIBUTE"),
        (["--app", "doors_app:none"], "cannot be loaded: AttributeError"),
        (["--app", "no_such_module:app"], "cannot be loaded: ModuleNotFoundError"),
        (["--app", "doors_app:number"], "is a int, not an application"),
        (["--openapi", "missing.yaml"], "missing.yaml cannot be read"),
        (["--app", "doors_app:app", "--openapi", "x"], "either --app or --openapi"),
    ],
)
def test_wrong_use_is_said(folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(*arguments) == 3
    assert said in capsys.readouterr().err.replace("\n", " ")
