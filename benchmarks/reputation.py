"""What reputation costs honest contributors, on the example's real questions.

    python -m benchmarks.reputation

A fifth of the vetted questions is held out for the audit set; the rest makes the anchored model. The stream's honest
corrections are dealt to contributors, who are audited once a day; some of what they send is also ruled on by a
moderator, who knows the truth. Beside them one attacker teaches wrong labels, and one repeats what the model knows.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feedback_guard.contribution import Contribution, Kind, parse_contribution
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.learning.audit import belief_in
from feedback_guard.learning.audit_build import belongs_to_audit, build
from feedback_guard.limits.bankroll import MICRO, PICO, Account
from feedback_guard.limits.reputation import Probe, Stake, Terms, rule
from feedback_guard.limits.reputation_memory import MemoryBank
from feedback_guard.policy.embedding import EmbeddingPolicy
from feedback_guard.signals.disagreement import Disagreement

DATA = Path(__file__).parents[1] / "examples" / "bank_assistant" / "data"
KEY = b"a key for this benchmark only"
A_DAY = 5
"""Contributions of each contributor in a day."""


@dataclass(frozen=True)
class Sent:
    """What the anchored model and the audit set say of a question with its true label, and with a wrong one."""

    right: Probe | None
    wrong: Probe | None
    belief: int
    disbelief: int


def observe() -> tuple[list[Sent], float, int]:
    """Embed everything once; returns what was sent, and the audit set's information and size."""
    batcher = start_batcher(EmbeddingPolicy(isolated=False))
    try:
        with gzip.open(DATA / "vetted.jsonl.gz", "rt", encoding="utf-8") as lines:
            vetted = [parse_contribution(json.loads(line)) for line in lines]
        with gzip.open(DATA / "stream.jsonl.gz", "rt", encoding="utf-8") as lines:
            asked = [json.loads(line) for line in lines]
        rng = random.Random(3)
        labels = sorted({each["label"] for each in asked})
        honest = [Contribution(f"h{n}", 0, "", Kind.LABEL, q["input"], q["label"]) for n, q in enumerate(asked)]
        seen, right = (observe_now(batcher, items) for items in (vetted, honest))
        fingerprint = batcher.embedder.fingerprint
    finally:
        batcher.close()
    wrong = [
        replace(
            each,
            contribution=replace(
                each.contribution, label=rng.choice([x for x in labels if x != each.contribution.label])
            ),
        )
        for each in right
    ]
    trusted = [each for each in seen if not belongs_to_audit(each.contribution.id, KEY, 0.2)]
    reader = Disagreement.from_state(Disagreement.fit(trusted, seed=0))
    held_out = [each for each in seen if belongs_to_audit(each.contribution.id, KEY, 0.2)]
    audit = build(held_out, reader, fingerprint=fingerprint, baseline="")
    sent = [
        Sent(audit.probe(good), audit.probe(bad), belief_in(reader, good), belief_in(reader, bad))
        for good, bad in zip(right, wrong, strict=True)
    ]
    return sent, audit.information, len(held_out)


def play(sent: Sequence[Sent], people: int, terms: Terms, ruled: float, *, seed: int = 0) -> dict[str, Account]:
    """Deal the stream out to people, one in ten of them an attacker."""
    bank, rng = MemoryBank(terms), random.Random(seed)
    order = list(range(len(sent)))
    rng.shuffle(order)
    for n, which in enumerate(order):
        place, day, each = n % people, n // (people * A_DAY), sent[which]
        bad = place % 10 == 9
        who, ident = f"{'attacker' if bad else 'honest'}-{place}", f"{n:06}"
        bank.audit_due(day)
        influence = bank.open(who, ident, day).influence
        belief, probe = (each.disbelief, each.wrong) if bad else (each.belief, each.right)
        bank.add(Stake(ident, who, MICRO, influence, day + 1, belief=belief, probe=probe))
        if rng.random() < ruled:
            rule(bank, bank.stakes[ident], "denied" if bad else "approved", None, terms)
    bank.audit_due(len(sent))
    return bank.accounts


def main() -> None:
    """Print the table that `docs/explanation/guarantees.md` shows."""
    sent, information, size = observe()
    probed = sum(each.right is not None for each in sent)
    agree = sum(each.right is not None and each.right.ratio_micro > MICRO for each in sent)
    print(f"audit set: {size} items, {information:.1f} units of information in it")
    print(f"stream: {len(sent)} honest corrections, {probed} speak about an item, {agree} of them agree with it")
    print("people n c price | ruled | honest: median, full weight, forfeited each | attackers: median")
    for people, identities, damage in ((20, 20, 1.0), (20, 100, 1.0), (20, 1_000, 1.0), (20, 1_000, 10.0)):
        terms = Terms(identities, round(damage * PICO), 4 * PICO)
        for ruled in (0.0, 0.05, 0.2):
            accounts = play(sent, people, terms, ruled)
            groups: dict[str, list[Account]] = {
                name: [account for who, account in accounts.items() if who.startswith(name)]
                for name in ("honest", "attacker")
            }
            middle = {
                name: sorted(each.balance for each in group)[len(group) // 2] / PICO for name, group in groups.items()
            }
            honest = groups["honest"]
            print(
                f"{people:5} {identities:6} {damage:4g} {math.log(2 * identities / damage):5.1f} | {ruled:4.0%} | "
                f"{middle['honest']:.5f} {sum(each.balance >= PICO for each in honest):3} of {len(honest)} "
                f"{sum(each.forfeited for each in honest) / PICO / len(honest):6.2f} | {middle['attacker']:.6f}"
            )


if __name__ == "__main__":
    main()
