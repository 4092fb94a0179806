"""`feedback-guard ledger show`: the entries about somebody, of a kind, of some time, with what each says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.clock import ManualClock, format_iso8601
from feedback_guard.contribution import Contribution
from feedback_guard.policy.loader import load_policy
from feedback_guard.store.database import Store
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision
from tests.store.build import NOW, decide, held, insert, submission

DAY = 86_400_000_000


def by(new: Any, contributor: str, decision: Decision | None = None, *, unscored: bool = False) -> Any:
    """The submission, by somebody else, and with another verdict."""
    judged = []
    for item in new.judged:
        contribution: Contribution = dataclasses.replace(item.contribution, contributor=contributor)
        changed = {"unscored": unscored} | ({} if decision is None else {"decision": decision})
        verdict = dataclasses.replace(item.verdict, **changed)
        judged.append(dataclasses.replace(item, contribution=contribution, verdict=verdict))
    return dataclasses.replace(new, judged=tuple(judged))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which ada taught, cleo was held and approved, and eve was limited, or passed unscored."""
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text("name: test\n")
    with Store.open(load_policy("policy.yaml").policy.store, clock=ManualClock(NOW)) as store:
        accepted = submission("s-ada", Learning.ACCEPTED, delivery=Delivery.NONE, at_us=NOW - 2 * DAY)
        insert(store, by(accepted, "ada"), by(held("s-cleo", at_us=NOW - DAY), "cleo"))
        limited = submission("s-eve", Learning.LIMITED, delivery=Delivery.REFUSED, at_us=NOW)
        insert(store, by(limited, "eve", Decision.LIMIT))
        insert(
            store, by(submission("s-raw", Learning.ACCEPTED, delivery=Delivery.NONE, at_us=NOW), "eve", unscored=True)
        )
        decide(store, "s-cleo", approve=True, note="asked her\x1b[2J")
        pulled = [PullBack("s-ada.0", "campaign-1")]
        store.submit(lambda tx: tx.pull_back(pulled, now_us=NOW, mature_after_us=DAY)).result()
    return tmp_path


ASKED: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
    "somebody": (["--contributor", "ada"], [("judged", "ada"), ("held", "ada")]),
    "somebody's namesake": (["--contributor", "ad"], []),
    "a wildcard is no name": (["--contributor", "a%"], []),
    "a kind": (["--kind", "approved"], [("approved", "cleo")]),
    "two kinds": (["--kind", "approved", "--kind", "held"], [("approved", "cleo"), ("held", "ada")]),
    "who was refused for want of budget": (["--decision", "limit"], [("judged", "eve")]),
    "what a failure let pass": (["--unscored"], [("judged", "eve")]),
    "an item": (["s-cleo"], [("judged", "cleo"), ("approved", "cleo")]),
    "a contribution": (["s-cleo.0"], [("judged", "cleo"), ("approved", "cleo")]),
    "since": (["--since", format_iso8601(NOW), "--kind", "judged"], [("judged", "eve"), ("judged", "eve")]),
    "until": (["--until", format_iso8601(NOW), "--kind", "judged"], [("judged", "ada"), ("judged", "cleo")]),
    "first": (["--limit", "1"], [("judged", "ada")]),
    "after": (["--after", "1", "--limit", "1"], [("judged", "cleo")]),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_entries_that_are_asked_for_are_listed(name: str, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = ASKED[name]
    assert run(["ledger", "show", "--policy", "policy.yaml", "--json", *arguments]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(entry["kind"], entry["contributor"]) for entry in found if entry["kind"] != "delivery"] == expected


def test_an_entry_says_who_decided_and_why_and_a_terminal_is_not_obeyed(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "show", "--policy", "policy.yaml", "--kind", "approved", "--limit", "1"]) == 0
    shown = capsys.readouterr()
    assert "cleo" in shown.out
    assert "held to approved, by mo" in shown.out
    assert "asked her" in shown.out
    assert "\x1b" not in shown.out
    assert "go on with --after" in shown.err


def test_what_a_model_may_have_learnt_before_it_was_taken_back(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was taken back in time is not among it."""
    with Store.open(load_policy("policy.yaml").policy.store, clock=ManualClock(NOW)) as store:
        insert(store, by(submission("s-dan", Learning.ACCEPTED, delivery=Delivery.NONE, at_us=NOW), "dan"))
        pulled = [PullBack("s-dan.0", "campaign-1")]
        store.submit(lambda tx: tx.pull_back(pulled, now_us=NOW, mature_after_us=DAY)).result()
    assert run(["ledger", "show", "--policy", "policy.yaml", "--kind", "held"]) == 0
    assert "  dan  " in capsys.readouterr().out
    assert run(["ledger", "show", "--policy", "policy.yaml", "--mature"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("held  s-ada.0  ada  accepted to held, mature, campaign campaign-1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--decision", "refuse"], "--decision takes one of accept, quarantine, limit, reject"),
        (["--since", "2026-11-29"], "--since: '2026-11-29' has no offset"),
        (["--url", "sqlite:///other.db"], "either --policy POLICY or --url URL"),
    ],
)
def test_a_wrong_question_is_answered_with_what_fits(
    arguments: list[str], sentence: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "show", "--policy", "policy.yaml", *arguments]) == 3
    assert sentence in capsys.readouterr().err
