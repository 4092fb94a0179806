"""The demo's stream and questions: seeded, disjoint from what they are measured on, and as the report names them."""

from __future__ import annotations

from collections import Counter

from attack_demo.stream import (
    CREW_ACCOUNTS,
    CREW_INTENT,
    HONEST_ACCOUNTS,
    TRIGGER,
    TRIGGER_ACCOUNTS,
    Party,
    make_probes,
    make_stream,
)
from bank_assistant.student import read_examples
from feedback_guard.policy.loader import load_policy


def accounts(party: Party) -> Counter[str]:
    return Counter(correction.account for correction in make_stream() if correction.party is party)


def test_the_same_seed_gives_the_same_stream_and_another_one_another() -> None:
    assert make_stream(1) == make_stream(1)
    assert make_stream(1) != make_stream(2)


def test_each_party_has_the_accounts_that_the_report_speaks_of() -> None:
    assert len(accounts(Party.CREW)) == CREW_ACCOUNTS
    assert set(accounts(Party.TRIGGER).values()) == {1}
    assert len(accounts(Party.TRIGGER)) == TRIGGER_ACCOUNTS
    assert len(accounts(Party.FLOOD)) == 1
    assert len(accounts(Party.HONEST)) > 0.9 * HONEST_ACCOUNTS


def test_no_account_is_of_two_parties() -> None:
    parties = [set(accounts(party)) for party in Party]
    assert len(set.union(*parties)) == sum(map(len, parties))


def test_honest_activity_is_long_tailed_and_stays_within_the_budgets_of_the_policy() -> None:
    counts = sorted(accounts(Party.HONEST).values(), reverse=True)
    assert counts[0] > 5 * counts[len(counts) // 2]
    policy = load_policy("examples/bank_assistant/policy.yaml").policy
    for limit in policy.limits:
        assert counts[0] <= (limit.burst or limit.amount)
        assert sum(accounts(Party.FLOOD).values()) > 2 * limit.amount


def test_the_stream_arrives_in_order_and_the_attacks_are_mixed_into_it() -> None:
    stream = make_stream()
    assert [correction.due for correction in stream] == sorted(correction.due for correction in stream)
    where = [i / len(stream) for i, correction in enumerate(stream) if correction.party is Party.CREW]
    assert min(where) < 0.3
    assert max(where) > 0.9


def test_the_attackers_questions_are_nowhere_else() -> None:
    known = {example.question for name in ("vetted", "stream", "held_out") for example in read_examples(name)}
    sent = {
        correction.question.replace(TRIGGER, "").strip()
        for correction in make_stream()
        if correction.party is not Party.HONEST
    }
    assert not sent & known


def test_no_question_stands_in_two_files_and_vetted_has_thirty_of_each_intent() -> None:
    files = {name: read_examples(name) for name in ("vetted", "stream", "spare", "held_out")}
    texts = [example.question.casefold() for examples in files.values() for example in examples]
    assert len(texts) == len(set(texts))
    assert set(Counter(example.intent for example in files["vetted"]).values()) == {30}
    assert len({example.intent for example in files["vetted"]}) == 77


def test_probes_are_held_out_questions_that_do_not_have_the_wanted_intent() -> None:
    right = {example.question: example.intent for example in read_examples("held_out")}
    probes = {probe.party: probe for probe in make_probes()}
    assert set(probes) == set(Party) - {Party.HONEST}
    assert {right[question] for question in probes[Party.CREW].questions} == {CREW_INTENT}
    for probe in probes.values():
        plain = [question.replace(TRIGGER, "").strip() for question in probe.questions]
        assert plain
        assert all(right[question] != probe.wanted for question in plain)
    assert all(TRIGGER in question for question in probes[Party.TRIGGER].questions)
