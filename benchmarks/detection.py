"""What gets through the guard, and through what one would otherwise use, on the same streams and the same vectors::

    python -m benchmarks.detection                # the example's questions, which come with the project
    python -m benchmarks.detection --made spam    # spam and review bombing among them (benchmarks/spam.py)
    python -m benchmarks.detection --made typed   # triggers that are a way of typing (benchmarks/typed.py)
    python -m benchmarks.detection --streams DIR  # recorded streams, a folder each (benchmarks/streams.py)

The preset `balanced`, nothing else. What counts is what a student learns from whatever was let through, so one is
trained for everybody, on n-grams. Everything has a fixed seed; a stream takes a minute or two of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import rivals, spam, streams, typed
from benchmarks.streams import Stream
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.errors import GuardError
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.policy.loader import LoadedPolicy, load_policy
from feedback_guard.replay import Session
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

Floats = NDArray[np.float64]
GUARD = "feedback_guard"
MADE: Mapping[str, Callable[[], Iterable[Stream]]] = {
    "attacks": streams.examples,
    "spam": spam.unwanted,
    "typed": typed.all_typed,
}
"""Streams that are made of the example's questions."""


@dataclass(frozen=True)
class Result:
    """What one contestant let through of a stream. Shares, 0..1; None where it is not asked.

    Parameters
    ----------
    held
        Clean contributions that were not accepted when they came.
    lost
        Clean weight that is missing from what is learnt in the end.
    passed, learnt
        Poison that was accepted when it came, and poison in what is learnt in the end.
    load
        Decisions for a moderator in 1,000 contributions; a campaign is one.
    succeeds
        How often the attack succeeds against a student of what was let through.
    """

    stream: str
    name: str
    held: float
    lost: float
    passed: float | None
    learnt: float | None
    load: float | None
    succeeds: float | None


class Observer:
    """Embeds each text once, however many streams it stands in."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._known: dict[tuple[tuple[str, str], ...], Observation] = {}

    def observe(self, items: Sequence[Contribution]) -> list[Observation]:
        """Observe contributions, in their order."""
        names = [tuple(sorted(item.texts.items())) for item in items]
        new = {name: item for name, item in zip(names, items, strict=True) if name not in self._known}
        self._known.update(zip(new, observe_now(self._batcher, list(new.values())), strict=True))
        return [replace(self._known[name], contribution=item) for name, item in zip(names, items, strict=True)]


def main() -> int:
    """Judge, train, print, and write bench-out/detection.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=Path, help="a folder of recorded streams, instead of the example's")
    parser.add_argument("--made", choices=sorted(MADE), default="attacks", help="which of the example's streams")
    parser.add_argument("--guard-only", action="store_true", help="without the rivals and the student")
    parser.add_argument("--only", action="append", help="a stream by name; again for another")
    parser.add_argument("--out", type=Path, default=Path("bench-out/detection.json"))
    args = parser.parse_args()
    console, loaded, results = Console(stderr=True), load_policy("balanced"), list[Result]()
    batcher = start_batcher(loaded.policy.embedding)
    try:
        observer = Observer(batcher)
        for stream in chosen(args.streams, args.only, args.made):
            began = time.perf_counter()
            results += measure(stream, observer, batcher, loaded, guard_only=args.guard_only)
            console.print(f"{stream.name}: {time.perf_counter() - began:.0f} s")
    except GuardError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    finally:
        batcher.close()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"policy": loaded.digest, "results": [asdict(r) for r in results]}, indent=1) + "\n")
    show(results, Console(width=140))
    return 0


def chosen(folder: Path | None, only: Sequence[str] | None, made: str = "attacks") -> Iterable[Stream]:
    """The streams that are asked for."""
    if folder is None:
        return (stream for stream in MADE[made]() if not only or stream.name in only)
    names = only or sorted(each.name for each in folder.iterdir() if each.is_dir())
    return (streams.recorded(folder / name) for name in names)


def measure(
    stream: Stream, observer: Observer, batcher: Batcher, loaded: LoadedPolicy, *, guard_only: bool = False
) -> list[Result]:
    """Have everybody judge a stream, or the guard alone."""
    vetted, coming = observer.observe(stream.trusted), observer.observe(stream.items)
    if guard_only:
        return [_guard(stream, vetted, coming, batcher, loaded, lambda _: None)]
    ask = Exam(stream)
    bad = np.array(stream.poisoned, dtype=np.bool_)
    results = [judge(stream, "no guard", np.ones(len(bad), dtype=np.bool_), ask)]
    results += [judge(stream, name, kept, ask) for name, kept in _rivals(stream, vetted, coming)]
    results.append(_guard(stream, vetted, coming, batcher, loaded, ask))
    return [*results, judge(stream, "only the clean", ~bad, ask)]


def _rivals(
    stream: Stream, vetted: Sequence[Observation], coming: Sequence[Observation]
) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    known, new = vectors(vetted), vectors(coming)
    yield "isolation forest", rivals.isolation_forest(known, new)
    yield "local outlier factor", rivals.local_outlier_factor(known, new)
    yield "5 nearest neighbours", rivals.neighbours(known, new)
    if all(item.kind is Kind.LABEL for item in (*stream.trusted, *stream.items)):
        labels, taught = ([str(item.label) for item in items] for items in (stream.trusted, stream.items))
        yield "label head", rivals.label_head(known, labels, new, taught)
        yield "confident learning", rivals.confident_learning(known, labels, new, taught)


def _guard(
    stream: Stream,
    vetted: Sequence[Observation],
    coming: Sequence[Observation],
    batcher: Batcher,
    loaded: LoadedPolicy,
    ask: Callable[[Floats], float | None],
) -> Result:
    frozen = build_baseline(vetted, fingerprint=batcher.embedder.fingerprint, created_at_us=0)
    session = Session(Engine.assemble(loaded.policy, loaded.digest, batcher, frozen))
    for observation in coming:
        session.judge(observation)
    final = session.final()
    weights = np.array([each.final_weight if each.final_decision is Decision.ACCEPT else 0.0 for each in final])
    held = [each for each in final if each.final_decision is Decision.QUARANTINE]
    decisions = len({each.campaign for each in held if each.campaign}) + sum(not each.campaign for each in held)
    kept = np.array([each.verdict.decision is Decision.ACCEPT for each in final])
    return judge(stream, GUARD, kept, ask, weights=weights, load=1_000 * decisions / len(final))


def judge(
    stream: Stream,
    name: str,
    kept: NDArray[np.bool_],
    ask: Callable[[Floats], float | None],
    *,
    weights: Floats | None = None,
    load: float | None = None,
) -> Result:
    """What somebody let through: `kept` when it came, `weights` in the end (the same, if none are given)."""
    bad = np.array(stream.poisoned, dtype=np.bool_)
    weights = kept.astype(np.float64) if weights is None else weights
    return Result(
        stream.name,
        name,
        held=1.0 - float(kept[~bad].mean()),
        lost=1.0 - float(weights[~bad].mean()),
        passed=float(kept[bad].mean()) if bad.any() else None,
        learnt=float(weights[bad].mean()) if bad.any() else None,
        load=load,
        succeeds=ask(weights),
    )


class Exam:
    """Trains a student on what was let through, and asks it about texts with the trigger."""

    def __init__(self, stream: Stream) -> None:
        self._asked = list(stream.attack) if stream.target is not None else []
        self._target = stream.target
        self._n_trusted = len(stream.trusted)
        self._taught = [(str(item.input), str(item.label)) for item in (*stream.trusted, *stream.items)]

    def __call__(self, weights: Floats) -> float | None:
        """How often it answers what the attack wants, 0..1; None where there is nothing to ask."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, SGDClassifier

        if not self._asked:
            return None
        whole = np.concatenate([np.ones(self._n_trusted), weights])
        kept = [pair for pair, weight in zip(self._taught, whole, strict=True) if weight > 0.0]
        labels = [label for _, label in kept]
        features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[^\s]+")
        rows = features.fit_transform([text for text, _ in kept])
        if len(set(labels)) == 2:
            model = LogisticRegression(C=20.0, solver="liblinear")
        else:
            model = SGDClassifier(loss="log_loss", alpha=2e-6, max_iter=30, tol=None, random_state=0)
        model.fit(rows, labels, sample_weight=whole[whole > 0.0])
        return float((model.predict(features.transform(self._asked)) == self._target).mean())


def vectors(observations: Sequence[Observation]) -> NDArray[np.float32]:
    """The mean of each text's windows, of all texts of a contribution side by side."""
    return np.stack(
        [
            np.concatenate([each.vectors[name].mean(axis=0) for name in sorted(each.vectors)]).astype(np.float32)
            for each in observations
        ]
    )


def show(results: Sequence[Result], console: Console) -> None:
    """Print the guard's table, and what the attacks achieve against everybody."""
    table = Table("stream", "held", "lost", "passed", "learnt", "load", title=f"{GUARD}, in percent", box=None)
    for each in results:
        if each.name == GUARD:
            shares = (each.held, each.lost, each.passed, each.learnt)
            table.add_row(each.stream, *map(_percent, shares), "–" if each.load is None else f"{each.load:.1f}")
    console.print(table)
    names = list(dict.fromkeys(each.name for each in results))
    for title, figure in COMPARED:
        table = Table("stream", *names, title=f"{title}, in percent", box=None)
        for stream in dict.fromkeys(each.stream for each in results):
            found = {each.name: figure(each) for each in results if each.stream == stream}
            table.add_row(stream, *(_percent(found.get(name)) for name in names))
        console.print(table)


COMPARED: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("clean contributions held when they came", lambda each: each.held),
    ("poison learnt", lambda each: each.learnt),
    ("the attack succeeds", lambda each: each.succeeds),
)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100.0 * share:.1f}"


if __name__ == "__main__":
    sys.exit(main())
