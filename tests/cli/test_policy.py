from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from feedback_guard.cli.policy import app
from feedback_guard.policy.loader import load_policy

MINE = """\
extends: balanced
name: mine
mode: observe
routes: [{name: feedback, path: /feedback, extract: '@'}]
review: {moderators: [{name: ana, token_sha256: %s}]}
""" % ("a" * 64)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE, encoding="utf-8")
    return CliRunner()


def test_check_of_a_sound_policy(runner: CliRunner) -> None:
    result = runner.invoke(app, ["check", "mine.yaml"])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"OK mine {load_policy('mine.yaml').digest}",
        "for every signal to count, vet at least 2666 contributions (most for anomaly)",
    ]


def test_check_with_warnings(runner: CliRunner) -> None:
    result = runner.invoke(app, ["check", "strict"])
    assert result.exit_code == 1
    assert result.stdout.startswith("OK strict sha256:")
    assert "warning: baseline.path: none is set" in result.stdout


def test_check_of_an_unreadable_baseline(runner: CliRunner) -> None:
    Path("b.yaml").write_text("extends: mine.yaml\nbaseline: {path: nowhere}\n", encoding="utf-8")
    result = runner.invoke(app, ["check", "b.yaml"])
    assert result.exit_code == 1
    assert "warning: baseline.path: " in result.stdout


def test_check_of_an_expression_that_can_never_make_a_contribution(runner: CliRunner) -> None:
    """The middleware would not start with the first of them; with the others every request would be refused."""
    for expression, sentence in (
        ("{kind: 'label', input: nothing(@), label: b}", "there is no function nothing()"),
        ("{kind: 'label', input: a}", "a label needs label"),
        ("items[].{knd: 'label', input: a, label: b}", "did you mean 'kind'?"),
    ):
        file = Path("never.yaml")
        file.write_text(f'extends: mine.yaml\nroutes: [{{name: r, path: /r, extract: "{expression}"}}]\n', "utf-8")
        result = runner.invoke(app, ["check", "never.yaml"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("never.yaml: routes: r: extract: ")
        assert sentence in result.stderr


def test_budgets_that_a_list_of_ones_own_turns_off_are_named(runner: CliRunner) -> None:
    limit = "{name: contributor-day, facet: contributor, measure: weight, amount: 5, per: 1d}"
    Path("own.yaml").write_text(f"extends: mine.yaml\nlimits: [{limit}]\n", "utf-8")
    (line,) = [
        line for line in runner.invoke(app, ["check", "own.yaml"]).stdout.splitlines() if line.startswith("off:")
    ]
    assert line.startswith(
        "off: contributor-rate, contributor-lifetime, network-rate, anonymous-day, phrase-lifetime, "
    )
    assert "contributor-day" not in line
    assert "off:" not in runner.invoke(app, ["check", "mine.yaml"]).stdout


def test_check_of_a_broken_policy(runner: CliRunner) -> None:
    Path("bad.yaml").write_text("mode: x\nstor: {}\n", encoding="utf-8")
    result = runner.invoke(app, ["check", "bad.yaml"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["bad.yaml:1", "bad.yaml:2"]


@pytest.mark.parametrize("command", [["check", "no.yaml"], ["show", "no.yaml"], ["diff", "balanced", "no.yaml"]])
def test_a_missing_file(runner: CliRunner, command: list[str]) -> None:
    result = runner.invoke(app, command)
    assert result.exit_code == 2
    assert result.stderr.startswith("no.yaml:1: there is no such file")


def test_schema_is_json_schema_with_extends(runner: CliRunner) -> None:
    result = runner.invoke(app, ["schema"])
    schema = json.loads(result.stdout)
    assert result.exit_code == 0
    assert schema["additionalProperties"] is False
    assert list(schema["properties"])[:2] == ["extends", "version"]


def test_show_prints_a_policy_that_is_the_same(runner: CliRunner) -> None:
    result = runner.invoke(app, ["show", "mine.yaml"])
    Path("whole.yaml").write_text(result.stdout, encoding="utf-8")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"# {load_policy('mine.yaml').digest}\n# from mine.yaml, on ")
    assert load_policy("whole.yaml").digest == load_policy("mine.yaml").digest


def test_passwords_are_not_shown(runner: CliRunner) -> None:
    Path("db.yaml").write_text("store: {url: 'postgresql+psycopg://guard:hunter2@db:5432/x'}\n", encoding="utf-8")
    shown = runner.invoke(app, ["show", "db.yaml"]).stdout
    assert yaml.safe_load(shown)["store"]["url"] == "postgresql+psycopg://guard:***@db:5432/x"
    assert "hunter2" not in runner.invoke(app, ["diff", "balanced", "db.yaml"]).stdout


def test_diff_names_what_changes(runner: CliRunner) -> None:
    Path("mine2.yaml").write_text(
        "extends: mine.yaml\nstaging: {mature_after: 2h}\nlimits:\n"
        "  - {name: contributor-lifetime, facet: contributor, measure: weight, amount: 10}\n",
        encoding="utf-8",
    )
    result = runner.invoke(app, ["diff", "mine.yaml", "mine2.yaml"])
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert "limits[contributor-lifetime].amount: 150.0 -> 10.0" in lines
    # What only one of them has is one line, with what is set in it.
    (gone,) = [line for line in lines if line.startswith("limits[contributor-rate]")]
    assert gone.startswith(
        'limits[contributor-rate]: {name: "contributor-rate", facet: "contributor", measure: "count", '
    )
    assert 'per: "1h"' in gone
    assert "null" not in gone
    assert gone.endswith("} -> (absent)")
    back = runner.invoke(app, ["diff", "mine2.yaml", "mine.yaml"]).stdout.splitlines()
    assert (
        gone.replace("limits[contributor-rate]: ", "limits[contributor-rate]: (absent) -> ")[: -len(" -> (absent)")]
        in back
    )
    assert 'staging.mature_after: "1d" -> "2h"' in lines


def test_diff_of_equal_policies(runner: CliRunner) -> None:
    result = runner.invoke(app, ["diff", "mine.yaml", "mine.yaml"])
    assert (result.exit_code, result.stdout) == (0, "")
