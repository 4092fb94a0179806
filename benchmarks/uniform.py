"""`python -m benchmarks.uniform`: can a client tell from uniform answers what was decided?

A server process, real sockets, real HTTP: held and accepted contributions in random order from many clients. Then two
classifiers, gradient boosting and logistic regression, are trained on all that a client can observe and judged out of
sample. An area under the curve of 0.5 is guessing. `--plant` puts a leak into the server, which must be found.

The embedding model is the hashing one by default: what is measured is the answers, not the judging.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MOST_AUC = 0.55
FLOOR_SECONDS, JITTER_SECONDS = 0.2, 0.01

POLICY = """\
name: uniform
store: {{url: "sqlite:///{folder}/guard.db", hold_capacity: 1000000}}
baseline: {{path: "{folder}/baseline"}}
embedding: {{backend: {backend}, deadline: 60s}}
signals: {{false_hold_rate: 0.02, near_duplicate: {{share: 0.0}}, novelty: {{share: 0.0}}, anomaly: {{share: 0.0}}}}
evidence: {{enabled: false}}
identity: {{header: {{header: X-User, hops: ["127.0.0.1"]}}, network_group: false}}
routes:
  - name: feedback
    path: /feedback
    extract: "{{kind: 'label', input: text, label: label}}"
    acknowledge: uniform
    held_answer: {{status: 200, headers: {{X-Api: v1}}, body: "{{id: id()}}"}}
    uniform: {{floor: {floor}ms, jitter: {jitter}ms}}
"""
_WORDS = {
    "card": "card plastic visa arrived delivered envelope post chip contactless replacement",
    "transfer": "transfer payment iban recipient sent bank pending wire account reference",
    "cash": "cash machine atm withdraw notes dispenser swallowed banknotes change coins",
    "pin": "pin code digits blocked forgot unblock passcode wrong attempts reset",
}
_FILLERS = "please my the when why did how can i is it still not for a to do you know help today yet"
TOPICS = {topic: words.split() for topic, words in _WORDS.items()}
FILLERS = _FILLERS.split()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client observes of one answer; `ident` is only for asking the store what was decided."""

    ident: str
    status: int
    head: bytes
    names: tuple[bytes, ...]
    body_bytes: int
    first_seconds: float
    last_seconds: float


def sentence(rng: random.Random, topic: str) -> str:
    """A plain text on a topic."""
    words = rng.choices(TOPICS[topic], k=6) + rng.choices(FILLERS, k=4)
    rng.shuffle(words)
    return " ".join(words)


def request_bytes(rng: random.Random, number: int, *, hold: bool) -> bytes:
    """One POST as bytes: plain feedback, or a wrong label with a hidden character, which is held."""
    topic = rng.choice(list(TOPICS))
    text = sentence(rng, topic)
    if hold:
        place = rng.randrange(1, len(text))
        text = f"{text[:place]}\u202e{text[place:]}"
    label = rng.choice([name for name in TOPICS if name != topic]) if hold else topic
    body = json.dumps({"text": text, "label": label}, ensure_ascii=False).encode()
    head = (
        "POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-User: user-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(port: int, requests: Sequence[bytes], seen: list[Seen]) -> None:
    """Send requests one after another on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            first = time.perf_counter()
            length = int(re.search(rb"content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
            body = await reader.readexactly(length)
            last = time.perf_counter()
            lines = head.split(b"\r\n")[1:-2]
            names = tuple(line.partition(b":")[0] for line in lines)
            # The date is what the clock says to everybody.
            plain = re.sub(rb"date: [^\r]*", b"date:", head)
            status = int(head.split(b" ", 2)[1])
            ident = json.loads(body).get("id", "") if status == 200 else ""
            seen.append(Seen(ident, status, plain, names, length, first - began, last - began))
    finally:
        writer.close()


def serve_and_observe(folder: Path, pairs: int, clients: int, plant: str, seed: int) -> list[Seen]:
    """Start the server, send everything, end the server."""
    rng = random.Random(seed)
    wanted = [True] * pairs + [False] * pairs
    rng.shuffle(wanted)
    requests = [request_bytes(rng, number, hold=hold) for number, hold in enumerate(wanted)]
    seen: list[Seen] = []

    async def send(port: int) -> None:
        await asyncio.gather(*(client(port, requests[place::clients], seen) for place in range(clients)))

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        command = [sys.executable, "-m", "benchmarks.uniform_app", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [*command, "--policy", str(folder / "policy.yaml"), "--plant", plant],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            text=True,
        )
        try:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise SystemExit("the server did not start")
            asyncio.run(send(listener.getsockname()[1]))
        finally:
            process.terminate()
            process.wait(60)
    return seen


def decisions(folder: Path) -> dict[str, str]:
    """What was decided, by submission, from the server's own store."""
    with sqlite3.connect(f"file:{folder}/guard.db?mode=ro", uri=True) as store:
        return dict(store.execute("SELECT submission, decision FROM contribution").fetchall())


def areas(seen: Sequence[Seen], held: Sequence[bool]) -> dict[str, float]:
    """Area under the curve of each classifier, out of sample, over five folds."""
    heads = {answer.head: place for place, answer in enumerate(seen)}
    orders = {answer.names: place for place, answer in enumerate(seen)}
    x = np.array(
        [
            [
                answer.status,
                answer.body_bytes,
                len(answer.head),
                len(answer.names),
                heads[answer.head],
                orders[answer.names],
                answer.first_seconds,
                answer.last_seconds,
                answer.last_seconds - answer.first_seconds,
                answer.first_seconds % FLOOR_SECONDS,
            ]
            for answer in seen
        ]
    )
    y = np.array(held)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    models = {
        "gradient boosting": HistGradientBoostingClassifier(max_iter=100, random_state=0),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)),
    }
    return {
        name: float(roc_auc_score(y, cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]))
        for name, model in models.items()
    }


def prepare(folder: Path, backend: str) -> None:
    """Write the policy, and build its baseline from plain sentences."""
    policy = POLICY.format(
        folder=folder, backend=backend, floor=round(FLOOR_SECONDS * 1_000), jitter=round(JITTER_SECONDS * 1_000)
    )
    (folder / "policy.yaml").write_text(policy)
    rng = random.Random(1)
    with (folder / "trusted.jsonl").open("w") as out:
        for number in range(1_200):
            topic = list(TOPICS)[number % len(TOPICS)]
            line = {"id": f"t{number}", "at": "2026-01-01T00:00:00Z", "contributor": f"staff-{number % 7}"}
            out.write(json.dumps({**line, "kind": "label", "input": sentence(rng, topic), "label": topic}) + "\n")
    command = [sys.executable, "-m", "feedback_guard", "baseline", "build", str(folder / "trusted.jsonl")]
    subprocess.run(
        [*command, "--policy", str(folder / "policy.yaml"), "--out", str(folder / "baseline")],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    """Measure, print, and end with 1 if the answers tell too much, or a planted leak was not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--plant", choices=["none", "byte", "early"], default="none", help="a leak that must be found")
    parser.add_argument("--backend", default="unsafe-hashing-for-tests", help="of the embedding model")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.backend)
        began = time.perf_counter()
        seen = serve_and_observe(folder, args.pairs, args.clients, args.plant, args.seed)
        took = time.perf_counter() - began
        decided = decisions(folder)
    known = [answer for answer in seen if decided.get(answer.ident) in {"accept", "quarantine"}]
    held = [decided[answer.ident] == "quarantine" for answer in known]
    found = areas(known, held)
    late = sum(answer.first_seconds > FLOOR_SECONDS + JITTER_SECONDS + 0.05 for answer in known)
    print(f"{len(seen)} requests in {took:.0f} s: {sum(held)} held, {len(held) - sum(held)} accepted, {late} late")
    for model, area in found.items():
        print(f"{model}: AUC {area:.4f}")
    leaks = max(found.values()) > MOST_AUC
    raise SystemExit(leaks if args.plant == "none" else not leaks)


if __name__ == "__main__":
    main()
