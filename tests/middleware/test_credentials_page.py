"""The example of docs/how-to/credentials-at-replay.md, run as it stands, with another model behind the policy."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from feedback_guard.store.states import OUTCOMES, Delivery
from tests.guards import labelled, make_policy
from tests.patience import wait_until
from tests.serving import Serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "credentials-at-replay.md"
FILES = dict(re.findall(r"^```[a-z]+ file=(\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
TEST_MODEL = "embedding: {backend: unsafe-hashing-for-tests, deadline: 30s}\nsignals: {false_hold_rate: 0.05}\n"


def test_an_application_that_takes_the_guards_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_policy(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        more = TEST_MODEL + "limits: []\n" if name.endswith(".yaml") else ""
        (tmp_path / name).write_text(text + more, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("guards_word", tmp_path / "guards_word.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    guard = module.app.user_middleware[1].kwargs["guard"]
    with Serving(module.app) as server:
        headers = {"Authorization": "Bearer ada's token"}
        answers = (
            server.post("/feedback", {"question": item.input, "intent": item.label}, headers)
            for item in labelled(60, seed=3, flip=True)
        )
        held = next(answer for answer in answers if answer.status == 202)
        ident = held.json["id"]
        guard.store.submit(lambda tx: tx.decide(ident, approve=True, moderator="mo", now_us=1)).result()
        wait_until(lambda: guard.store.submission(ident).delivery in OUTCOMES)
        stored = guard.store.submission(ident)
        assert stored.delivery is Delivery.DELIVERED, stored.detail
