"""The examples of docs/how-to/wrap-an-app.md, run as they stand; only the model behind the policy is replaced."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from feedback_guard import FeedbackGuardMiddleware, Guard
from tests.guards import labelled, make_policy
from tests.middleware.direct import Recorder
from tests.middleware.issuer import claims, make_key, published, sign
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "wrap-an-app.md"
FILES = dict(re.findall(r"^```[a-z]+ file=(\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
TAKEN = {200, 202}
"""Accepted or held: several accounts that send one text are a campaign."""
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
        "tokens.yaml",
        "sessions.py",
        "sessions.yaml",
        "named_by_a_function.py",
        "function.yaml",
        "django_user.py",
        "forms.py",
        "forms.yaml",
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


def test_forms_and_feedback_by_get(serve: Any) -> None:
    server = serve("forms")
    form = urlencode(FEEDBACK | {"tags[]": "a"}).encode()
    answer = server.post("/feedback/7", form, {"content-type": "application/x-www-form-urlencoded"})
    assert answer.status in TAKEN
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in FEEDBACK.items()
    )
    media = {"content-type": "multipart/form-data; boundary=b"}
    answer = server.post("/feedback/7", f"{parts}--b--\r\n".encode(), media)
    assert answer.status in TAKEN
    twice = server.post("/feedback/7", form + b"&intent=x", {"content-type": "application/x-www-form-urlencoded"})
    assert twice.status == 400
    query = urlencode({"q": ITEM.input, "a": "look into the app", "up": 1})
    assert server.post(f"/feedback/7/thumb?{query}", b"", method="GET").status in {
        200,
        202,
    }
    assert server.post(f"/feedback/7/thumb?{query}&up=0", b"", method="GET").status == 400


def test_sessions(serve: Any) -> None:
    server = serve("sessions")
    assert server.post("/feedback", FEEDBACK).status == 401
    cookie = server.post("/login", b"").headers["set-cookie"].split(";")[0]
    assert server.post("/feedback", FEEDBACK, {"cookie": cookie}).status in TAKEN


def test_a_function_that_identifies(serve: Any) -> None:
    server = serve("named_by_a_function")
    assert server.post("/feedback", FEEDBACK, {"x-api-key": "key of the support team"}).status in TAKEN
    assert server.post("/feedback", FEEDBACK, {"x-api-key": "guessed"}).status == 401


def test_tokens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    key = make_key("EC", "k-page")
    Path("keys.json").write_bytes(published(key))
    payload = claims(
        iss="https://login.example.com/", aud="feedback-api", exp=time.time() + 60, org_id="acme", sub="ada"
    )
    wrapped = FeedbackGuardMiddleware(Recorder(), guard=Guard.from_policy("tokens.yaml"))
    with Serving(wrapped, lifespan="off") as server:
        token = sign(key, payload, alg="ES256").decode()
        assert server.post("/feedback", FEEDBACK, {"authorization": f"Bearer {token}"}).status in TAKEN
        assert server.post("/feedback", FEEDBACK, {"authorization": f"Bearer {token[:-8]}AAAAAAAA"}).status == 401
        assert server.post("/feedback", FEEDBACK).status == 401


DJANGO = """
import asyncio, sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.db"}},
    ALLOWED_HOSTS=["*"],
)
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
call_command("migrate", verbosity=0)
client = Client()
ada = User.objects.create_user("ada", password="x")
client.force_login(ada)
cookie = client.cookies["sessionid"].value.encode()
from django_user import who
from feedback_guard.clock import SystemClock
from feedback_guard.middleware.sources import make_identifier
from feedback_guard.policy.identity import IdentityPolicy
from tests.middleware.direct import make_scope
policy = IdentityPolicy.model_validate({"callable": {"deadline": "30s"}, "missing": "anonymous"})
asked = make_identifier(policy, SystemClock(), who)
def ask(value):
    headers = [(b"cookie", b"a=b; sessionid=" + value)] if value else []
    return asyncio.run(asked.identify(make_scope(headers=headers))).contributor
print(ask(cookie), ask(b"guessed"), ask(None))
ada.set_password("y")  # sessions from before are no longer good
ada.save()
print(ask(cookie))
connections.close_all()
"""


def test_a_function_that_asks_django(folder: Path) -> None:
    """In a process of its own: Django has one configuration for each."""
    done = subprocess.run(
        [sys.executable, "-c", DJANGO],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(PAGE.parents[2]), str(folder)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout.split() == ["ada", "(anonymous)", "(anonymous)", "(anonymous)"], done.stderr
