"""How many hostile accounts can change the answers of a bank's model? `python -m certified.run`, in `examples/`.

Real questions of bank customers (banking77), from simulated accounts. They go through a guard, mature, and are cut into
a snapshot with partitions; a model is trained for each partition, and the models vote. For each number of hostile
accounts the table says which share of the held-out questions is answered right whatever those accounts sent.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bank_assistant.student import Example as Question
from bank_assistant.student import Student, read_examples
from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.guard import Guard
from feedback_guard.learning.certificate import Example, certified_accuracy, train
from feedback_guard.learning.cut import create
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.snapshot import Snapshot
from feedback_guard.learning.writing import Cut
from feedback_guard.policy.routes import OnHold
from feedback_guard.policy.schema import Policy
from feedback_guard.submission import Submission

START_US = 1_770_000_000_000_000
DAY = 86_400
FILES = ("vetted", "spare", "stream")


@dataclass(frozen=True)
class Constant:
    """The model of a partition in which only one intent was taught."""

    intent: str


def fit(examples: Sequence[Example]) -> Student | Constant:
    """Train the bank's student on one partition: the same examples always give the same model."""
    questions = [Question(e.contribution.input, str(e.contribution.label), e.weight) for e in examples]
    intents = {question.intent for question in questions}
    return Student(questions) if len(intents) > 1 else Constant(intents.pop())


def predict(model: Student | Constant, inputs: Sequence[str]) -> list[str]:
    """Answer questions with the model of one partition."""
    if isinstance(model, Constant):
        return [model.intent for _ in inputs]
    return [answer.intent for answer in model.answer(inputs)]


async def contribute(guard: Guard, questions: Sequence[Question], accounts: int, seed: int) -> None:
    """Let accounts send the questions, a few in each request."""
    rng = random.Random(seed)
    of: dict[str, list[Question]] = {}
    for question in questions:
        of.setdefault(f"account-{rng.randrange(accounts)}", []).append(question)
    number = 0
    for account, own in of.items():
        pending = iter(own)
        while part := list(islice(pending, 10)):
            items = []
            for question in part:
                number += 1
                items.append(
                    Contribution(
                        f"q{number}", guard.clock.now_us(), account, Kind.LABEL, question.question, question.intent
                    )
                )
            await guard.judge(Submission("", OnHold.PASS, tuple(items)))


def cut(folder: Path, questions: Sequence[Question], *, accounts: int, partitions: int, seed: int) -> Snapshot:
    """Send everything through a guard without a baseline, let it mature, and cut a snapshot.

    The hashing embedder is no model. It will do here, because a guard that only observes scores nothing.
    """
    policy = Policy.model_validate(
        {
            "mode": "observe",
            "store": {"url": f"sqlite:///{folder / 'store.db'}"},
            "snapshot": {"mature_after_count": 0, "caps": [{"facet": "contributor", "max_share": 0.05}]},
        }
    )
    clock = ManualClock(START_US)
    guard = Guard.from_policy(policy, clock=clock, embedder=UnsafeHashingEmbedder())

    async def play() -> None:
        try:
            await contribute(guard, questions, accounts, seed)
            clock.advance(2 * DAY)
            deal = Partitions(partitions, f"the key of example {seed}".encode())
            how = Cut(policy, guard.policy_digest, None, clock.now_us(), parquet=False, partitions=deal)
            create(guard.store, how, folder / "snapshot", now_us=clock.now_us())
        finally:
            await guard.stop()

    asyncio.run(play())
    return Snapshot.open(folder / "snapshot")


def measure(*, partitions: int, accounts: int, seed: int = 0, questions: int | None = None) -> dict[int, float]:
    """Certified accuracy on the held-out questions for each number of hostile accounts, from 0."""
    pool = [example for name in FILES for example in read_examples(name)]
    random.Random(seed).shuffle(pool)
    held_out = read_examples("held_out")
    if questions is not None:
        pool, held_out = pool[:questions], held_out[: questions // 4]
    with tempfile.TemporaryDirectory() as folder:
        snapshot = cut(Path(folder), pool, accounts=accounts, partitions=partitions, seed=seed)
        found = train(snapshot, fit, predict).certify([example.question for example in held_out])
    expected = [example.intent for example in held_out]
    return {radius: certified_accuracy(found, expected, radius) for radius in range(partitions // 2 + 1)}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shown = (0, 1, 2, 3, 4, 5, 8, 10, 15)
    print("partitions  " + "  ".join(f"{radius:>5}" for radius in shown) + "   hostile accounts")
    for partitions in args.partitions:
        found = measure(partitions=partitions, accounts=args.accounts, seed=args.seed)
        print(f"{partitions:>10}  " + "  ".join(f"{found.get(radius, 0.0):>5.1%}" for radius in shown))


if __name__ == "__main__":
    main()
