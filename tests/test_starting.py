"""A guard that is started while somebody loses patience: one model, whoever waits for it, and none left behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.errors import EmbeddingError
from feedback_guard.guard import Guard
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_policy, submit
from tests.patience import PATIENCE_SECONDS


class Slow(UnsafeHashingEmbedder):
    """Loads when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.loading, self.may_go_on = threading.Event(), threading.Event()
        self.loads = self.ends = 0
        self.fails = False

    def load(self) -> None:
        self.loads += 1
        self.loading.set()
        if not self.may_go_on.wait(PATIENCE_SECONDS):
            raise AssertionError("nobody let it go on")
        if self.fails:
            raise EmbeddingError("it cannot be loaded")

    def close(self) -> None:
        self.ends += 1


def slow_guard(folder: Path) -> tuple[Guard, Slow]:
    slow = Slow()
    return Guard.from_policy(make_policy(folder), clock=ManualClock(START_US), embedder=slow), slow


async def given_up(task: asyncio.Task[object], slow: Slow) -> None:
    """Cancel it while the model is being loaded."""
    assert await asyncio.to_thread(slow.loading.wait, PATIENCE_SECONDS)
    task.cancel()


def test_who_gives_up_leaves_the_start_to_who_comes_next(tmp_path: Path) -> None:
    guard, slow = slow_guard(tmp_path)
    one, two = labelled(2, seed=1)

    async def main() -> None:
        first: asyncio.Task[object] = asyncio.create_task(guard.judge(submit(one)))
        await given_up(first, slow)
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(guard.judge(submit(two)))
        await asyncio.sleep(0)
        slow.may_go_on.set()
        assert (await second).decision is Decision.ACCEPT
        assert (slow.loads, slow.ends) == (1, 0)
        await guard.stop()

    asyncio.run(main())
    assert (slow.loads, slow.ends) == (1, 1)


def test_a_start_that_is_cancelled_leaves_no_model_behind(tmp_path: Path) -> None:
    guard, slow = slow_guard(tmp_path)

    async def main() -> None:
        starting: asyncio.Task[object] = asyncio.create_task(guard.start())
        await given_up(starting, slow)
        done, _ = await asyncio.wait({starting}, timeout=0.0)
        assert not done, "it did not wait for the thread that loads"
        slow.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert (slow.loads, slow.ends) == (1, 1)
        await guard.start()
        assert (await guard.judge(submit(next(labelled(1, seed=1))))).decision is Decision.ACCEPT
        await guard.stop()

    asyncio.run(main())
    assert (slow.loads, slow.ends) == (2, 2)


def test_a_loop_that_ends_meanwhile_leaves_no_model_behind(tmp_path: Path) -> None:
    guard, slow = slow_guard(tmp_path)

    async def main() -> None:
        first: asyncio.Task[object] = asyncio.create_task(guard.judge(submit(next(labelled(1, seed=1)))))
        await given_up(first, slow)
        asyncio.get_running_loop().call_soon(slow.may_go_on.set)  # the start goes on, and nobody waits for it

    asyncio.run(main())
    assert (slow.loads, slow.ends) == (1, 1)


def test_a_start_that_fails_fails_for_all_who_wait_and_may_be_tried_again(tmp_path: Path) -> None:
    guard, slow = slow_guard(tmp_path)
    slow.fails = True

    async def main() -> None:
        slow.may_go_on.set()
        items = list(labelled(3, seed=1))
        got = await asyncio.gather(*(guard.judge(submit(item)) for item in items[:2]), return_exceptions=True)
        assert [type(each) for each in got] == [EmbeddingError, EmbeddingError]
        assert slow.loads == 1
        slow.fails = False
        assert (await guard.judge(submit(items[2]))).decision is Decision.ACCEPT
        await guard.stop()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["judge", "start"])
def test_a_start_that_nobody_waits_for_any_more_may_fail_quietly(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        guard, slow = slow_guard(tmp_path)
        slow.fails = True
        item = next(labelled(1, seed=1))
        first: asyncio.Task[object] = asyncio.create_task(
            guard.start() if how == "start" else guard.judge(submit(item))
        )
        await given_up(first, slow)
        asyncio.get_running_loop().call_soon(slow.may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await first
        await guard.stop()  # waits for it

    asyncio.run(main())
    gc.collect()  # only then is an error told that nobody heard of
    assert "never retrieved" not in caplog.text


def test_the_detectors_are_imported_beside_the_event_loop(tmp_path: Path) -> None:
    # It takes a second or two: a guard that is started by its first request would stop all others meanwhile.
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "extends: observe\nname: p\n"
        f"store: {{url: 'sqlite:///{tmp_path}/guard.db'}}\n"
        "embedding: {backend: unsafe-hashing-for-tests}\n"
    )
    code = (
        "import asyncio, importlib.abc, sys, threading\n"
        "from feedback_guard.guard import Guard\n"
        "where = {}\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        where.setdefault(name, threading.current_thread())\n"
        "sys.meta_path.insert(0, Watch())\n"
        "async def main():\n"
        f"    guard = Guard.from_policy({str(policy)!r})\n"
        "    await guard.start()\n"
        "    await guard.stop()\n"
        "asyncio.run(main())\n"
        "names = ('numba', 'scipy', 'feedback_guard.engine', 'feedback_guard.evidence.accumulator')\n"
        "assert not [n for n in names if where[n] is threading.main_thread()], where\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_application_has_imported_the_detectors_before_its_server_forks() -> None:
    code = "import sys; from feedback_guard import Guard; sys.exit('feedback_guard.engine' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
