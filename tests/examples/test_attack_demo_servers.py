"""The demo's children: they serve, they end with the demo however it ends, and what failed is shown with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import psutil
import pytest

from attack_demo import servers
from attack_demo.servers import EXAMPLES, Child, DemoError
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child("unguarded assistant", tmp_path, ["assistant"])


@pytest.fixture
def quick(child: Child, monkeypatch: pytest.MonkeyPatch) -> Child:
    """A child that is there at once: what is tested is its parent."""
    monkeypatch.setattr(servers, "PROGRAM", "tests.examples.quick_child")
    monkeypatch.setattr(servers, "EXAMPLES", EXAMPLES.parent)
    return child


def pid_of(child: Child) -> int:
    assert child.pid is not None
    return child.pid


def test_a_child_serves_on_loopback_until_it_is_left(child: Child) -> None:
    with child:
        child.wait_until_ready()
        address = child.addresses["assistant"]
        assert address.startswith("http://127.0.0.1:")
        assert httpx2.get(f"{address}/ask", params={"q": "Where is my card?"}).is_success
        pid = pid_of(child)
    assert not psutil.pid_exists(pid)
    with pytest.raises(httpx2.TransportError):
        httpx2.get(address)


def test_a_child_that_dies_is_reported_with_its_log(quick: Child) -> None:
    with quick:
        quick.wait_until_ready()
        quick.watch(0.01)
        quick.log.write_text("line one\nwhat it died of\n")
        os.kill(pid_of(quick), signal.SIGKILL)
        with pytest.raises(DemoError, match=r"unguarded assistant ended with code -9(.|\n)*what it died of"):
            quick.watch(PATIENCE_SECONDS)


def test_a_child_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    with (
        Child("guarded assistant", tmp_path, ["assistant", "review"], ["--policy=nowhere.yaml"]) as child,
        pytest.raises(DemoError, match=r"(?s)guarded assistant ended with code 1.*nowhere\.yaml"),
    ):
        child.wait_until_ready()


def test_a_child_that_ignores_its_end_is_ended_by_force(quick: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.2)
    with quick:
        quick.wait_until_ready()
        pid = pid_of(quick)
        os.kill(pid, signal.SIGSTOP)  # neither the end of its input nor SIGTERM reaches it now
    assert not psutil.pid_exists(pid)


def test_children_do_not_outlive_a_demo_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from attack_demo.servers import Child\n"
        "with Child('unguarded assistant', pathlib.Path(sys.argv[1]), ['assistant']) as child:\n"
        "    child.wait_until_ready()\n"
        "    print(child.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(EXAMPLES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        process = psutil.Process(int(demo.stdout.readline()))
        demo.kill()
        demo.wait()
    gone, alive = psutil.wait_procs([process], timeout=PATIENCE_SECONDS)
    assert gone
    assert not alive
