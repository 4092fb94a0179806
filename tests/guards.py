"""Guards for tests: a real store, real signals, a small trusted set, and the deterministic hashing embedder."""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline, save
from feedback_guard.guard import Guard
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.policy.schema import Policy
from feedback_guard.submission import Submission
from tests.store.ready import ready

START_US = 1_770_000_000_000_000
_TOPICS = {
    "card": tuple("card plastic visa arrived delivered envelope post chip contactless replacement".split()),
    "transfer": tuple("transfer payment iban recipient sent bank pending wire account reference".split()),
    "cash": tuple("cash machine atm withdraw notes dispenser swallowed banknotes change coins".split()),
    "pin": tuple("pin code digits blocked forgot unblock passcode wrong attempts reset".split()),
}
_FILLERS = tuple("please my the when why did how can i is it still not for a to do you know help today yet".split())


def sentence(rng: random.Random, topic: str) -> str:
    """A plain text on a topic."""
    words = rng.choices(_TOPICS[topic], k=4) + rng.choices(_FILLERS, k=6)
    rng.shuffle(words)
    return " ".join(words)


def labelled(
    n: int, *, seed: int = 0, prefix: str = "c", who: str | None = None, flip: bool = False
) -> Iterator[Contribution]:
    """Contributions whose label follows the text, or with `flip` never does."""
    rng = random.Random(seed)
    topics = list(_TOPICS)
    for i in range(n):
        topic = topics[i % len(topics)]
        label = topics[(i + 1) % len(topics)] if flip else topic
        yield Contribution(
            f"{prefix}{seed}-{i}",
            START_US + i * 1_000_000,
            who or f"user-{i % 50}",
            Kind.LABEL,
            sentence(rng, topic),
            label,
        )


@functools.lru_cache(maxsize=1)
def trusted_baseline() -> Path:
    """A baseline of 400 trusted texts, built once in a run of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="feedback-guard-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    try:
        observations = observe_now(batcher, list(labelled(400, seed=9, prefix="t")))
        fingerprint = batcher.embedder.fingerprint
    finally:
        batcher.close()
    save(build_baseline(observations, fingerprint=fingerprint, created_at_us=START_US), folder / "baseline")
    return folder / "baseline"


def store_url(folder: Path) -> str:
    """Where the guards of a folder keep their record: in it, unless `use_store` named a server's database."""
    named = folder / "store.url"
    return named.read_text() if named.exists() else f"sqlite:///{folder}/guard.db"


def use_store(folder: Path, url: str) -> None:
    """Have the guards of a folder keep their record in another store."""
    (folder / "store.url").write_text(url)


def make_policy(folder: Path, **changes: Any) -> Policy:
    """A policy whose store and baseline are in `folder`; a new store has its schema already."""
    if not (folder / "baseline").exists():
        shutil.copytree(trusted_baseline(), folder / "baseline")
    policy = Policy.model_validate(
        {
            "name": "test",
            "store": {"url": store_url(folder)},
            "baseline": {"path": str(folder / "baseline")},
            "embedding": {"backend": "unsafe-hashing-for-tests", "max_wait": "0ms", "deadline": "30s"},
            "signals": {"false_hold_rate": 0.05},
            **changes,
        }
    )
    ready(policy.store.url)
    return policy


def make_guard(folder: Path, clock: ManualClock | None = None, **changes: Any) -> Guard:
    """A guard that is not started."""
    return Guard.from_policy(
        make_policy(folder, **changes), clock=clock or ManualClock(START_US), embedder=UnsafeHashingEmbedder()
    )


def submit(
    *items: Contribution, on_hold: OnHold = OnHold.HOLD, request: bytes | None = b"raw", route: str = "r"
) -> Submission:
    """A submission as the middleware would make it."""
    return Submission(route, on_hold, items, request)
