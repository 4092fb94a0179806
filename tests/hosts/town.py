"""What the end-to-end checks of all hosts share: a policy, a trusted set, processes, and the moderator's commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from feedback_guard.cli.main import run
from feedback_guard.clock import SystemClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline, save
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from tests.guards import sentence
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent

_POLL = 0.1
T = TypeVar("T")


def reason(number: int) -> str:
    """Why somebody says so: a text like those of the trusted set."""
    return sentence(random.Random(number), "card")


def policy_for(folder: Path, host: str, labels: tuple[str, ...]) -> Path:
    """A policy on top of a host's own, which knows these labels, holds any other, and has a store in the folder."""
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    try:
        trusted = [
            Contribution(f"t-{i}", i, f"user-{i % 50}", Kind.LABEL, reason(1_000 + i), labels[i % len(labels)])
            for i in range(400)
        ]
        observations = observe_now(batcher, trusted)
        fingerprint = batcher.embedder.fingerprint
    finally:
        batcher.close()
    now_us = SystemClock().now_us()
    save(build_baseline(observations, fingerprint=fingerprint, created_at_us=now_us), folder / "baseline")
    file = folder / "policy.yaml"
    value = {
        "extends": f"hosts/{host}",
        "store": {"url": f"sqlite:///{folder}/guard.db"},
        "baseline": {"path": str(folder / "baseline")},
        "embedding": {"backend": "unsafe-hashing-for-tests", "deadline": "30s"},
        "signals": {"false_hold_rate": 0.000001, "unknown_label": "quarantine"},
    }
    file.write_text(yaml.safe_dump(value))
    return file


def environment(**more: str) -> dict[str, str]:
    """This process's, so that a child finds the same code and the examples."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples" / "hosts"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **more}


@contextlib.contextmanager
def running(
    folder: Path, name: str, *command: str, pipe: bool = False, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; its output goes to a file, which is shown if it fails. It is ended by its own id.

    With `pipe` its standard output can be read: only for a child that writes no more there than is read.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment(**more),
            stdout=subprocess.PIPE if pipe else out,
            stderr=out,
        )
    try:
        yield child
    except BaseException:
        print(f"--- {name}:\n{log.read_text(errors='replace')[-4_000:]}")
        raise
    finally:
        child.terminate()
        try:
            child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def said_port(child: subprocess.Popen[bytes]) -> int:
    """Wait for the port that `tests.hosts.child` says when it is ready."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        assert selector.select(PATIENCE_SECONDS), "the host did not start in time"
    line = child.stdout.readline()
    assert line.strip().isdigit(), "the host did not start"
    return int(line)


def until(ready: Callable[[], T], what: str, child: subprocess.Popen[bytes] | None = None) -> T:
    """Ask again until there is an answer, within a bound."""
    pause = threading.Event()
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        assert child is None or child.poll() is None, f"{what}: the process has ended"
        pause.wait(_POLL)
    raise AssertionError(f"never came true: {what}")


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Moderator:
    """Uses the command line; the host is another process.

    Parameters
    ----------
    policy
        The policy file.
    """

    def __init__(self, policy: Path) -> None:
        self.policy = policy

    def run(self, *arguments: str) -> str:
        """Run a command of feedback-guard with the policy; it must end with 0."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = run([*arguments, "--policy", str(self.policy)])
        assert code == 0, out.getvalue()
        return out.getvalue()

    def held(self) -> list[dict[str, Any]]:
        """What waits for a decision."""
        listed: Any = json.loads(self.run("review", "list", "--json"))
        return list(listed["items"] if isinstance(listed, dict) else listed)

    def decide_all(self, verb: str, *, count: int) -> list[dict[str, Any]]:
        """Approve or deny what waits, which must be so many."""
        items = self.held()
        assert len(items) == count, items
        for item in items:
            self.run("review", verb, str(item["id"]), "--note", "read it")
        return items
