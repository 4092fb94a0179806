"""The examples of docs/how-to/wrap-an-app.md, run as they stand; only the model behind the policy is replaced."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guards import labelled, make_policy
from tests.serving import Serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "wrap-an-app.md"
FILES = dict(re.findall(r"^```[a-z]+ file=(\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
TEST_MODEL = "embedding: {backend: unsafe-hashing-for-tests, deadline: 30s}\n"
ITEM = next(labelled(1, seed=1))
FEEDBACK = {"question": ITEM.input, "intent": ITEM.label}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, with a baseline beside them."""
    folder = tmp_path_factory.mktemp("page")
    make_policy(folder)
    for name, text in FILES.items():
        (folder / name).write_text(text + (TEST_MODEL if name.endswith(".yaml") else ""), encoding="utf-8")
    return folder


@pytest.fixture
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(folder)
    running: list[Serving] = []

    def serve(name: str) -> Serving:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        running.append(Serving(module.app))
        return running[-1].__enter__()

    yield serve
    for server in running:
        server.__exit__(None, None, None)


def test_the_page_has_the_files_that_are_run_here() -> None:
    assert set(FILES) == {
        "app.py",
        "policy.yaml",
        "signed_in.py",
        "outside.py",
        "with_a_callable.py",
        "thumbs.yaml",
    }


def test_the_wrapping_takes_five_lines() -> None:
    lines = FILES["app.py"].split("\n\n\n")[0].splitlines()
    assert len([line for line in lines if line]) <= 5


def test_fastapi(serve: Any) -> None:
    server = serve("app")
    answer = server.post("/feedback", FEEDBACK, {"X-Authenticated-User": "ada"})
    assert answer.status == 200
    assert answer.json["learn"] is True
    assert 0 < answer.json["weight"] <= 1
    assert server.post("/feedback", FEEDBACK).status == 401


def test_starlette_with_users_that_sign_in(serve: Any) -> None:
    server = serve("signed_in")
    answer = server.post("/feedback", FEEDBACK, {"Authorization": "Bearer ada's token"})
    assert (answer.status, answer.json) == (200, {"thanks": "ada"})
    assert server.post("/feedback", FEEDBACK, {"Authorization": "Bearer guessed"}).status == 401


def test_any_other_application(serve: Any) -> None:
    server = serve("outside")
    answer = server.post("/feedback", FEEDBACK, {"X-Authenticated-User": "ada"})
    assert (answer.status, answer.body) == (200, b"taken")
    assert server.post("/feedback", b"{", {"X-Authenticated-User": "ada"}).status == 400


def test_a_callable(serve: Any) -> None:
    server = serve("with_a_callable")
    path = "/answers/a-7/rating"
    assert server.post(path, {"turns": [{"question": "a", "answer": "b"}]}, method="PUT").json == []
    assert server.post(path, {"nothing": 1}, method="PUT").status == 422
    turn = {"question": ITEM.input, "answer": "look into the app", "up": False}
    assert server.post(path, {"turns": [turn]}, method="PUT").status in {200, 202}
