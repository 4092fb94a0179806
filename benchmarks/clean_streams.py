"""How often the guard raises a false alarm: many honest streams, each with a trusted set of its own, judged whole::

    python -m benchmarks.clean_streams                              # everything; hours of one core
    python -m benchmarks.clean_streams --evidence                   # the evidence alone, ten times as fast
    python -m benchmarks.clean_streams --lesson votes --trusted 300 --streams 40

The preset `balanced`, nothing else. What it states is counted: of each kind of facets a campaign is found on an honest
stream with a chance of at most `evidence.false_campaign_rate`, and of honest contributions at most
`signals.false_hold_rate` are held for what they are by themselves. `benchmarks/honest.py` says what the streams are
like. They are drawn anew for every seed, so shares of streams have exact confidence intervals (Clopper and Pearson
1934); contributions of one stream share a trusted set, so shares of contributions have none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import honest
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.interface import Vectors
from feedback_guard.engine import CHUNK, Engine, observe_now, start_batcher
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.following import FAMILY
from feedback_guard.evidence.kinds.gather import Kinds, fit_kinds
from feedback_guard.policy.loader import load_policy
from feedback_guard.policy.schema import Policy
from feedback_guard.replay import Replayed, Session
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.text.canonical import CanonicalText
from feedback_guard.verdict import Decision

TRUSTED: Final = (300, 1_000, 2_310)
SENT: Final = 2_500
STREAMS: Final = 40
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Judged:
    """What became of one honest stream.

    Parameters
    ----------
    lesson, trusted, seed
        Which stream it is.
    sent, mistaken
        Contributions, and how many of them were wrong by mistake.
    found
        Kinds of facets that a campaign was found of, `family` for near copies, and `class` for a class that the stream
        is suspected to teach too much.
    campaigns
        How many there were, near copies apart.
    alone, alone_mistaken
        Contributions that were held for what they are by themselves: right ones, and mistaken ones.
    with_others, with_others_mistaken
        Contributions that a campaign held or pulled back.
    limited
        Contributions that met a limit.
    alarm
        Whether the drift alarm stands in the end.
    """

    lesson: str
    trusted: int
    seed: int
    sent: int
    mistaken: int
    found: tuple[str, ...]
    campaigns: int
    alone: int
    alone_mistaken: int
    with_others: int
    with_others_mistaken: int
    limited: int
    alarm: bool


class Observer:
    """Brings each text into canonical form and embeds it once, however many contributions it stands in."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self._known: dict[str, tuple[CanonicalText, Vectors]] = {}

    def read(self, texts: Sequence[str], on_progress: Callable[[int], object] = lambda _: None) -> None:
        """Read texts that are not known."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), CHUNK):
            part = [Contribution(f"t{n}", 0, "", Kind.LABEL, text) for n, text in enumerate(new[start : start + CHUNK])]
            for each in observe_now(self.batcher, part):
                self._known[each.contribution.input] = each.texts["input"], each.vectors["input"]
            on_progress(len(part))

    def observe(self, items: Sequence[Contribution]) -> list[Observation]:
        """Observe contributions, in their order."""
        self.read([text for item in items for text in item.texts.values()])
        found = []
        for item in items:
            known = {name: self._known[text] for name, text in item.texts.items()}
            forms = {name: form for name, (form, _) in known.items()}
            found.append(Observation(item, forms, {name: vectors for name, (_, vectors) in known.items()}))
        return found


def judge(stream: honest.Clean, observer: Observer, policy: Policy) -> tuple[Session, list[Replayed]]:
    """Build the baseline of a stream's trusted set and judge the stream, as `replay` would."""
    fingerprint = observer.batcher.embedder.fingerprint
    frozen = build_baseline(observer.observe(stream.trusted), fingerprint=fingerprint, created_at_us=0)
    session = Session(Engine.assemble(policy, "clean streams", observer.batcher, frozen))
    for observation in observer.observe(stream.items):
        session.judge(observation)
    return session, session.final()


def follow(stream: honest.Clean, observer: Observer, rate: float) -> Evidence:
    """Let the evidence alone follow a stream; whatever it charges is held, and all else accepted."""
    trusted = observer.observe(stream.trusted)
    evidence = Evidence(
        Background.fit(trusted, seed=0),
        Disagreement.from_state(Disagreement.fit(trusted, seed=0)),
        rate,
        kinds=Kinds.from_state(fit_kinds(trusted, seed=0)),
    )
    for observation in observer.observe(stream.items):
        charge = evidence.charge(observation)
        decision = Decision.QUARANTINE if charge else Decision.ACCEPT
        evidence.witness(observation, decision, observation.contribution.at_us)
    return evidence


def declared(evidence: Evidence | None) -> set[str]:
    """The kinds of facets that a campaign was found of."""
    if evidence is None:
        return set()
    found = {kind.rstrip("-") for campaign in evidence.campaigns for kind, _ in campaign.facets}
    return found | ({"class"} if evidence.teaching.parting.suspected else set())


def measure(
    lesson: str, trusted: int, seed: int, observer: Observer, policy: Policy, *, sent: int = SENT, alone: bool = False
) -> Judged:
    """Judge one stream and count."""
    stream = honest.clean(honest.everything(), lesson, trusted=trusted, sent=sent, seed=seed)
    if alone:
        return _of_evidence(
            stream, follow(stream, observer, policy.evidence.false_campaign_rate), lesson, trusted, seed
        )
    session, final = judge(stream, observer, policy)
    counts: Counter[tuple[str, bool]] = Counter()
    for each, mistaken in zip(final, stream.mistaken, strict=True):
        counts[_fate(each), mistaken] += 1
    evidence, drift = session.engine.memory.evidence, session.engine.memory.drift
    names = [each.ident for each in evidence.campaigns] if evidence is not None else []
    return Judged(
        lesson,
        trusted,
        seed,
        sent=len(final),
        mistaken=sum(stream.mistaken),
        found=tuple(sorted(declared(evidence))),
        campaigns=sum(not name.startswith(FAMILY) for name in names),
        alone=counts["alone", False],
        alone_mistaken=counts["alone", True],
        with_others=counts["with others", False],
        with_others_mistaken=counts["with others", True],
        limited=counts["limited", False] + counts["limited", True],
        alarm=drift is not None and drift.alarm,
    )


def _of_evidence(stream: honest.Clean, evidence: Evidence, lesson: str, trusted: int, seed: int) -> Judged:
    named = [item.id in evidence.members for item in stream.items]
    return Judged(
        lesson,
        trusted,
        seed,
        sent=len(stream.items),
        mistaken=sum(stream.mistaken),
        found=tuple(sorted(declared(evidence))),
        campaigns=sum(not each.ident.startswith(FAMILY) for each in evidence.campaigns),
        alone=0,
        alone_mistaken=0,
        with_others=sum(held and not wrong for held, wrong in zip(named, stream.mistaken, strict=True)),
        with_others_mistaken=sum(held and wrong for held, wrong in zip(named, stream.mistaken, strict=True)),
        limited=0,
        alarm=False,
    )


def _fate(each: Replayed) -> str:
    """What became of a contribution; of one that was held for two reasons, the one it was held for when it came."""
    if each.verdict.decision is Decision.QUARANTINE:
        speaks = each.verdict.reasons[0].signal if each.verdict.reasons else ""
        return "with others" if speaks == "evidence" else "alone"
    if each.verdict.decision is not Decision.ACCEPT:
        return "limited"
    return "accepted" if each.final_decision is Decision.ACCEPT else "with others"


def interval(n: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact confidence interval of a share.

    References
    ----------
    Clopper, C. J., Pearson, E. S. (1934). The use of confidence or fiducial limits. Biometrika 26.

    Examples
    --------
    >>> [round(each, 3) for each in interval(0, 40)], [round(each, 3) for each in interval(4, 40)]
    ([0.0, 0.088], [0.028, 0.237])
    """
    from scipy.stats import beta

    error = (1.0 - confidence) / 2.0
    low = float(beta.ppf(error, n, of - n + 1)) if n else 0.0
    high = float(beta.isf(error, n + 1, of - n)) if n < of else 1.0
    return low, high


def main() -> int:
    """Judge, print, and write bench-out/clean_streams.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lesson", action="append", choices=honest.LESSONS, help="what is taught; again for another")
    parser.add_argument("--trusted", action="append", type=int, help="size of the trusted sets; again for another")
    parser.add_argument("--streams", type=int, default=STREAMS, help="of each sort")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next ones have the next ones")
    parser.add_argument("--sent", type=int, default=SENT, help="contributions of a stream")
    parser.add_argument(
        "--evidence", action="store_true", help="the evidence alone, without the other signals and limits"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-out/clean_streams.json"))
    args = parser.parse_args()
    lessons, sizes = args.lesson or honest.LESSONS, args.trusted or TRUSTED
    loaded, results = load_policy("balanced"), list[Judged]()
    batcher = start_batcher(loaded.policy.embedding)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        observer = Observer(batcher)
        pool = [each.question for each in honest.everything()]
        with Progress(console=Console(stderr=True)) as progress:
            reading = progress.add_task("embedding the questions", total=len(pool))
            observer.read(pool, lambda n: progress.advance(reading, n))
            judging = progress.add_task("judging streams", total=args.streams * len(lessons) * len(sizes))
            # One of each sort, then the next of each: whoever stops it early has some of all.
            for lesson, trusted, seed in plan(lessons, sizes, range(args.seed, args.seed + args.streams)):
                results.append(
                    measure(lesson, trusted, seed, observer, loaded.policy, sent=args.sent, alone=args.evidence)
                )
                args.out.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
                progress.advance(judging)
    finally:
        batcher.close()
    show(results, Console(width=140))
    return 0


def plan(lessons: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """The streams, one of each sort after the other."""
    for seed in seeds:
        for lesson in lessons:
            for trusted in sizes:
                yield lesson, trusted, seed


def show(results: Sequence[Judged], console: Console) -> None:
    """Print what was found, by lesson and size of the trusted set."""
    sorts = list(dict.fromkeys((each.lesson, each.trusted) for each in results))
    heads = "lesson,trusted,streams,with a campaign,95 % interval,of,alone,mistaken,with others,mistaken,limited,alarms"
    table = Table(*heads.split(","), title="held by mistake, or because they were mistaken", box=None)
    for lesson, trusted in sorts:
        own = [each for each in results if (each.lesson, each.trusted) == (lesson, trusted)]
        n = sum(each.campaigns > 0 for each in own)
        low, high = interval(n, len(own))
        kinds = Counter(kind for each in own for kind in each.found)
        right, wrong = sum(each.sent - each.mistaken for each in own), sum(each.mistaken for each in own)
        table.add_row(
            lesson, str(trusted), str(len(own)), str(n), f"{low:.1%} to {high:.1%}",
            ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "–",
            f"{sum(each.alone for each in own) / right:.2%}", f"{sum(each.alone_mistaken for each in own) / wrong:.1%}",
            f"{sum(each.with_others for each in own) / right:.2%}",
            f"{sum(each.with_others_mistaken for each in own) / wrong:.1%}",
            f"{sum(each.limited for each in own) / (right + wrong):.2%}", str(sum(each.alarm for each in own)),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
