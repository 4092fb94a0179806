"""The pages about policies are run: the reference is up to date, and what the guide shows works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from feedback_guard import settings
from feedback_guard.errors import PolicyError
from feedback_guard.policy.checks import check_policy
from feedback_guard.policy.describe import walk
from feedback_guard.policy.loader import load_policy

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/how-to/write-a-policy.md").read_text(encoding="utf-8")
EXAMPLES = {
    re.match(r"# (\S+)", block)[1]: block  # type: ignore[index]
    for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
}


def test_the_reference_is_up_to_date() -> None:
    script = str(ROOT / "scripts/generate_reference.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_has_every_key_and_the_bounds() -> None:
    page = (ROOT / "docs/reference/policy.md").read_text(encoding="utf-8")
    for path, _, _ in walk():
        assert f"| `{path[-1]}` |" in page
    assert f"{settings.MAX_POLICY_BYTES} bytes and {settings.MAX_POLICY_DEPTH} levels" in page


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_guide_are_policies(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(EXAMPLES[name], encoding="utf-8")
    load_policy(file)


def test_the_first_example_has_no_warnings(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(EXAMPLES["policy.yaml"], encoding="utf-8")
    assert check_policy(load_policy(file).policy) == []


def test_mistakes_read_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "extends: balanced\nname: x\nmode: enforced\nbaseline: {path: baseline}\nroutes:\n  - name: a\n"
    Path("policy.yaml").write_text(text + "    path: /a\n    extract: '@'\n    max_body_byte: 1\n", encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy("policy.yaml")
    block = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)[0]
    shown = [line.removesuffix(" ...") for line in block.splitlines()]
    said = str(caught.value).splitlines()
    assert len(shown) == len(said)
    assert all(line.startswith(start) for line, start in zip(said, shown, strict=True))


def test_files_that_the_reference_names_exist() -> None:
    page = ROOT / "docs/reference/policy.md"
    for target in re.findall(r"\]\((\.\./[^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file()
