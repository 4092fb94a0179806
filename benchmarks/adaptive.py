"""What attackers who see verdicts achieve on the example's questions, by the command `feedback-guard redteam`::

    python -m benchmarks.adaptive

Real questions of bank customers (banking77) over 30 simulated days, the preset `balanced`, 5 % of poison.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

from bank_assistant.student import DATA, read_examples
from feedback_guard.cli.main import run
from feedback_guard.clock import format_iso8601

START_US = 1_770_000_000_000_000
MINUTE_US = 60_000_000
ACCOUNTS = 400


def write_stream(path: Path) -> None:
    """The example's honest questions in random order, by accounts of which a few are busy."""
    rng = random.Random(1)
    examples = read_examples("stream")
    rng.shuffle(examples)
    weights = [1.0 / (n + 3) ** 0.8 for n in range(ACCOUNTS)]
    senders = rng.choices(range(ACCOUNTS), weights=weights, k=len(examples))
    with path.open("w", encoding="utf-8") as lines:
        for n, (example, sender) in enumerate(zip(examples, senders, strict=True)):
            item = {
                "id": f"honest-{n}",
                "at": format_iso8601(START_US + n * MINUTE_US),
                "contributor": f"customer-{sender}",
                "kind": "label",
                "input": example.question,
                "label": example.intent,
            }
            lines.write(json.dumps(item) + "\n")


def main() -> int:
    """Write the stream and run the command; further arguments go to it."""
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "stream.jsonl"
        write_stream(stream)
        return run(
            [
                "redteam",
                "--policy=balanced",
                f"--trusted={DATA / 'vetted.jsonl.gz'}",
                f"--stream={stream}",
                "--days=30",
                f"--out={out / 'adaptive.json'}",
                *sys.argv[1:],
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
