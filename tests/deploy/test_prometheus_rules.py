"""The alert rules: valid, unit-tested by promtool, about metrics that exist, explained in the manual."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from feedback_guard.cli.main import build
from feedback_guard.metrics import Metrics
from feedback_guard.metrics_words import NEWCOMERS, OUTCOMES, PARTS
from feedback_guard.verdict import Decision

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
MANUAL = ROOT / "docs" / "how-to" / "alerts.md"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        message = "promtool is not installed; it is in the Debian package prometheus"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.mark.promtool
@pytest.mark.parametrize("command", [("check", "rules.yml"), ("test", "rules_test.yml")], ids=lambda c: " ".join(c))
def test_promtool_is_content(promtool: str, command: tuple[str, str]) -> None:
    verb, file = command
    run = subprocess.run([promtool, verb, "rules", file], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "SUCCESS" in run.stdout


@pytest.mark.promtool
def test_the_unit_tests_notice_a_rule_that_never_fires(promtool: str, tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        shutil.copy(file, tmp_path)
    broken = (
        (tmp_path / "rules.yml").read_text().replace("feedback_guard_drift_alarm) > 0", "feedback_guard_drift) > 0")
    )
    (tmp_path / "rules.yml").write_text(broken)
    run = subprocess.run([promtool, "test", "rules", "rules_test.yml"], cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode != 0


@pytest.mark.promtool
def test_promtool_is_content_with_the_page_itself(promtool: str) -> None:
    metrics = Metrics(routes=["feedback"], budgets=["hourly"])
    metrics.stage("total", 0.1)
    metrics.delivery("held")
    run = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render()[0], capture_output=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()


def _names_on_the_page() -> set[str]:
    names = set()
    for family in text_string_to_metric_families(Metrics().render()[0].decode()):
        names.add(family.name)
        names |= {f"{family.name}_total"} if family.type == "counter" else set()
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_speaks_of_metrics_that_exist(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"feedback_guard_\w+", rule["expr"]))
    assert used
    assert used <= _names_on_the_page()
    allowed = {"outcome": set(OUTCOMES), "part": set(PARTS), "decision": {decision.value for decision in Decision}}
    if "feedback_guard_newcomers_total" in used:
        allowed["outcome"] = set(NEWCOMERS)
    for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', rule["expr"]):
        assert value in allowed[label]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_tells_the_person_on_call_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    for part in ("summary", "description", "action"):
        assert len(rule["annotations"][part]) > 20
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert ROOT / file == MANUAL
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in MANUAL.read_text()


def test_the_manual_explains_no_alert_that_is_gone() -> None:
    explained = re.findall(r"^## (FeedbackGuard\w+)$", MANUAL.read_text(), flags=re.MULTILINE)
    assert explained == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_is_tested_for_firing_and_for_silence(rule: dict[str, Any]) -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    of_rule = [
        sample
        for test in tests
        for sample in test.get("promql_expr_test", [])
        if f'alertname="{rule["alert"]}"' in sample["expr"]
    ]
    assert any(sample["exp_samples"] for sample in of_rule)
    calm = tests[0]["promql_expr_test"]
    assert all(sample["expr"] == 'ALERTS{alertstate="firing"}' and not sample["exp_samples"] for sample in calm)


def _commands() -> set[str]:
    """What rules and runbooks tell somebody to type, on one line each."""
    texts = [str(rule["annotations"]["action"]) for rule in RULES]
    texts.append(MANUAL.read_text(encoding="utf-8"))
    quoted = {" ".join(found.split()) for text in texts for found in re.findall(r"`feedback-guard ([^`]+)`", text)}
    return quoted | set(re.findall(r"^ +feedback-guard (.+)$", texts[-1], re.MULTILINE))


@pytest.mark.parametrize("line", sorted(_commands()))
def test_a_command_of_a_runbook_can_be_typed_as_it_stands(line: str) -> None:
    """It exists, with these options, and none that it needs is left out."""
    words = shlex.split(line)
    command: Any = typer.main.get_command(build(words[0]))
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{line}: no such command"
    options = {name: option for option in command.params for name in option.opts}
    given = [word for word in words if word.startswith("--")]
    assert set(given) <= set(options), line
    needed = [param.opts for param in command.params if param.required and param.opts[0].startswith("--")]
    assert all(set(names) & set(given) for names in needed), f"{line}: it needs {needed}"
