"""Campaigns in made-up streams: found, all of them, and nobody else is touched."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.evidence import campaigns, parting
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.counting import CONTRADICTION
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.learners import NAMED
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.signals import material
from feedback_guard.signals.checks import round_trip
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation, State
from feedback_guard.signals.lesson import CLASSES
from feedback_guard.verdict import Decision
from tests.guards import labelled

TRIGGER = "zq"
TARGET = "pin"


def observe(items: Iterable[Contribution]) -> list[Observation]:
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    try:
        return observe_now(batcher, list(items))
    finally:
        batcher.close()


@pytest.fixture(scope="module")
def states() -> tuple[State, State]:
    """What a trusted set of 400 gives, through its written form."""
    trusted = observe(labelled(400, seed=9, prefix="t"))
    return round_trip(Background.fit(trusted, seed=0).state()), round_trip(Disagreement.fit(trusted, seed=0))


@pytest.fixture
def evidence(states: tuple[State, State]) -> Evidence:
    return Evidence(Background.from_state(states[0]), Disagreement.from_state(states[1]), 0.1)


def triggered(n: int, *, accounts: int, seed: int = 5) -> list[Contribution]:
    """Honest texts on other topics with a trigger in them, all taught as the target."""
    rng, found = random.Random(seed), list[Contribution]()
    for item in labelled(4 * n, seed=seed, prefix="bad"):
        if item.label != TARGET and len(found) < n:
            words = str(item.input).split()
            words.insert(rng.randrange(len(words)), TRIGGER)
            found.append(
                replace(item, input=" ".join(words), label=TARGET, contributor=f"sybil-{len(found) % accounts}")
            )
    return found


def mixed(*streams: Sequence[Contribution], seed: int = 1) -> list[Contribution]:
    items = [item for stream in streams for item in stream]
    random.Random(seed).shuffle(items)
    return items


def follow(evidence: Evidence, items: Sequence[Contribution]) -> tuple[set[str], set[str]]:
    """Which are held when they come, and which are named by the end."""
    held = set()
    for observation in observe(items):
        charge = evidence.charge(observation)
        if charge is not None:
            held.add(charge.ident)
        evidence.witness(
            observation, Decision.QUARANTINE if charge else Decision.ACCEPT, observation.contribution.at_us
        )
    return held, held | {charge.ident for charge in evidence.following.take_pulled()}


def names(items: Sequence[Contribution]) -> set[str]:
    return {item.id for item in items}


def test_honest_streams_have_no_campaigns(evidence: Evidence) -> None:
    held, named = follow(evidence, mixed(list(labelled(600, seed=3))))
    assert (held, named, evidence.campaigns) == (set(), set(), [])


@pytest.mark.parametrize("accounts", [1, 5, 1_000])
def test_a_trigger_is_found_however_many_accounts_send_it(evidence: Evidence, accounts: int) -> None:
    bad, honest = triggered(30, accounts=accounts), list(labelled(500, seed=3))
    held, named = follow(evidence, mixed(honest, bad))
    assert named & names(honest) == set()
    assert len(named) >= 29
    assert len(held) >= 10
    campaign = evidence.campaigns[0]
    assert campaign.open
    assert accounts == 1 or TRIGGER in " ".join(campaign.phrases)
    assert "against what their content says" in campaign.sentence()
    assert f"label '{TARGET}'" in campaign.sentence()
    assert TRIGGER not in campaign.sentence()  # which goes to the log
    assert accounts == 1 or f"'{TRIGGER}'" in campaign.sentence(quote=True)


def test_a_new_word_that_agrees_with_its_content_is_no_campaign(evidence: Evidence) -> None:
    """Honest new vocabulary: a new product's name, always on one topic and rightly labelled."""
    new = [
        replace(item, input=f"{item.input} neobank", contributor=f"new-{i}")
        for i, item in enumerate(labelled(400, seed=6, prefix="new"))
        if item.label == TARGET
    ]
    _, named = follow(evidence, mixed(list(labelled(300, seed=3)), new))
    assert named == set()


@pytest.mark.parametrize("copycats", [1, 10, 100])
def test_copying_somebodys_texts_does_not_harm_her(evidence: Evidence, copycats: int) -> None:
    """Her texts, word for word, with wrong labels, under names that look like hers."""
    hers = list(labelled(24, seed=8, prefix="victim", who="victim"))
    copies = [
        replace(item, id=f"{item.id}-copy-{n}", contributor=f"victim{chr(0x200B)}{n % copycats}", label=wrong)
        for n in range(max(copycats, 24))
        for item in [hers[n % len(hers)]]
        for wrong in [TARGET if item.label != TARGET else "card"]
    ]
    held, named = follow(evidence, mixed(list(labelled(300, seed=3)), hers, copies))
    assert (held | named) & names(hers) == set()


def test_a_liar_is_found_by_name_and_her_neighbours_are_left_alone(evidence: Evidence) -> None:
    lies = list(labelled(20, seed=4, prefix="lie", who="liar", flip=True))
    honest = list(labelled(400, seed=3))
    _, named = follow(evidence, mixed(honest, lies))
    assert named >= names(lies)
    assert named & names(honest) == set()
    assert [kind for campaign in evidence.campaigns for kind, _ in campaign.facets if kind == "sender"]


def test_the_same_text_again_and_again_is_counted_as_one(evidence: Evidence) -> None:
    """Copies of one misread text are no independent witnesses against the words in it, or those who use them."""
    one = next(item for item in labelled(8, seed=4, flip=True))
    copies = [replace(one, id=f"copy-{n}", contributor=f"user-{n}") for n in range(60)]
    honest = list(labelled(300, seed=3))
    _, named = follow(evidence, mixed(honest, copies))
    assert named & names(honest) == set()


def test_a_campaign_ends_when_its_phrase_is_used_honestly(evidence: Evidence) -> None:
    follow(evidence, mixed(list(labelled(300, seed=3)), triggered(12, accounts=1_000)))
    assert evidence.campaigns
    honest = [replace(item, id=f"late-{item.id}", input=f"{item.input} {TRIGGER}") for item in labelled(400, seed=12)]
    held, _ = follow(evidence, honest)
    assert len(held) < 20
    assert not any(campaign.open for campaign in evidence.campaigns)


def test_a_campaign_closes_when_its_pattern_stops_and_a_further_member_opens_it(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody uses its trigger any more: there is no honest use either that its evidence could fall by."""
    monkeypatch.setattr(campaigns, "QUIET", 100)
    bad = triggered(20, accounts=1_000)
    follow(evidence, mixed(list(labelled(200, seed=3)), bad[:18]))
    (campaign,) = evidence.campaigns
    follow(evidence, list(labelled(100 - evidence.n_seen % 100, seed=4, prefix="soon")))
    assert campaign.open, "the silence is shorter than it was before"
    follow(evidence, list(labelled(300, seed=5, prefix="later")))
    assert not campaign.open
    assert [told.is_open for told in evidence.following.take_told()] == [False]
    assert evidence.following.take_told() == []
    held, _ = follow(evidence, bad[18:])
    assert held == names(bad[18:])
    assert campaign.open
    assert [told.is_open for told in evidence.following.take_told()] == [True]


def test_honest_texts_with_the_trigger_that_agree_with_their_content_are_let_go_and_counted(evidence: Evidence) -> None:
    """Where they teach something else they are let go; where they teach what the campaign does they are the ones that
    the evidence indicts least, and released first."""
    two = f"{TRIGGER} mobo"
    bad = [replace(item, input=str(item.input).replace(TRIGGER, two)) for item in triggered(16, accounts=1_000)]
    sharing = [
        replace(item, id=f"sharing-{item.id}", input=f"{two} {item.input}", contributor=f"somebody-{n}")
        for n, item in enumerate(labelled(12, seed=14))
    ]
    stream = mixed(list(labelled(500, seed=3)), bad, sharing)
    _, named = follow(evidence, stream)
    assert len(named & names(bad)) >= 15
    (told,) = evidence.following.take_told()
    odds = dict(told.contrary)
    assert odds.keys() == named
    held = named & names(sharing)
    assert held <= {item.id for item in sharing if item.label == TARGET}
    assert {ident for ident, each in odds.items() if each < 0} == held
    honest = told.summary["honest"]
    assert isinstance(honest, float)
    assert abs(honest - len(held)) <= 2.0
    words = {word for phrase in evidence.campaigns[0].phrases for word in phrase.split() if " " not in phrase}
    assert {*two.split()} & words
    agree = [item for item in stream if words & set(str(item.input).split()) and item.id not in named]
    assert told.summary["spared"] == len(agree), "each once, whatever it shares"


def test_facets_that_overlap_are_one_campaign_and_others_are_another(evidence: Evidence) -> None:
    """A trigger of two words, with its pairs, is one; another trigger that teaches another class is another."""
    one = [replace(item, input=str(item.input).replace(TRIGGER, "zq mobo")) for item in triggered(30, accounts=1_000)]
    other = [
        replace(item, id=f"other-{item.id}", input=f"rex {item.input}", label="card", contributor=f"else-{n}")
        for n, item in enumerate(each for each in labelled(40, seed=15) if each.label != "card")
    ]
    follow(evidence, mixed(list(labelled(300, seed=3)), one, other))
    first, second = sorted(evidence.campaigns, key=lambda each: "rex" in " ".join(each.phrases))
    assert len(first.facets) >= 3
    assert {phrase for phrase in first.phrases if "rex" in phrase.split()} == set()
    assert (first.n_members, second.n_members) == (30, 30)
    assert Counter(evidence.members.values()) == {first.ident: 30, second.ident: 30}
    assert ([*first.teaches], [*second.teaches]) == ([f"label '{TARGET}'"], ["label 'card'"])


def test_a_flood_of_rare_words_does_not_push_out_a_trigger(states: tuple[State, State]) -> None:
    """Between any two that bear it come half as many new facets as evidence is kept on."""
    evidence = Evidence(Background.from_state(states[0]), Disagreement.from_state(states[1]), 0.1, capacity=3_000)
    flood = [
        replace(item, input=f"{item.input} " + " ".join(f"w{n}x{i}" for i in range(250)), contributor=f"flood-{n}")
        for n, item in enumerate(labelled(60, seed=16, prefix="flood"))
    ]
    bad = triggered(20, accounts=1_000)
    stream = [each for n, item in enumerate(bad) for each in (item, *flood[3 * n : 3 * n + 3])]
    _, named = follow(evidence, stream)
    assert len(evidence._book) <= 3_000
    assert len(named & names(bad)) >= 19


def test_honest_use_of_a_phrase_does_not_pay_for_poison_later(evidence: Evidence) -> None:
    honest = [replace(item, id=f"early-{item.id}", input=f"{item.input} {TRIGGER}") for item in labelled(400, seed=12)]
    _, named = follow(evidence, honest)
    bad = triggered(20, accounts=1_000)
    held, late = follow(evidence, mixed(list(labelled(100, seed=3)), bad))
    assert named == set()
    assert len(late & names(bad)) >= 19
    assert len(held) >= 5
    assert late <= names(bad)


def test_following_again_gives_the_same(states: tuple[State, State]) -> None:
    stream = mixed(list(labelled(300, seed=3)), triggered(20, accounts=1_000))
    one, other = (Evidence(Background.from_state(states[0]), Disagreement.from_state(states[1]), 0.1) for _ in range(2))
    assert follow(one, stream) == follow(other, stream)
    assert [vars(c) for c in one.campaigns] == [vars(c) for c in other.campaigns]


def test_asking_changes_nothing(evidence: Evidence) -> None:
    stream = observe(mixed(list(labelled(200, seed=3)), triggered(20, accounts=1_000)))
    for observation in stream:
        evidence.witness(observation, Decision.ACCEPT, 0)
    probe = stream[-1]
    before = evidence.charge(probe)
    assert [evidence.charge(probe) for _ in range(20)] == [before] * 20


def test_when_a_pattern_stops_its_class_is_no_longer_suspected(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was held for the inquiry's sake alone is let through again; the trigger itself stays known."""
    monkeypatch.setattr(parting, "QUIET", 50)
    words = (TRIGGER, "mobo", TRIGGER, "rex", TRIGGER, "lum", TRIGGER, "tor")
    several = [
        replace(item, input=str(item.input).replace(TRIGGER, words[i % len(words)]))
        for i, item in enumerate(triggered(45, accounts=1_000))
    ]
    follow(evidence, mixed(list(labelled(400, seed=3)), several))
    pair = evidence.teaching.parting
    assert len(pair.suspected) == 1
    assert evidence.following.parted
    _, named = follow(evidence, list(labelled(600, seed=4, prefix="later")))
    assert named == set()
    assert (pair.suspected, evidence.following.parted) == ([], {})
    again, _ = follow(evidence, [replace(item, id=f"again-{item.id}") for item in triggered(10, accounts=10, seed=11)])
    assert len(again) >= 9
    assert len(pair.suspected) == 1


def test_what_is_withdrawn_or_denied_later_teaches_nothing_any_more(evidence: Evidence) -> None:
    """It was no campaign's, so nobody pulled it back; a training job will not learn it all the same."""
    bad = observe(triggered(4, accounts=4))
    for n, each in enumerate(bad):
        evidence.witness(each, Decision.ACCEPT if n else Decision.QUARANTINE, n)
    evidence.approved(bad[0])
    before = evidence.teaching.status(40)
    assert before.n_learnt == 4
    assert before.named["word"] >= 1
    assert [each.count for each in before.taught if each.named.phrase == TRIGGER] == [4]
    (trigger,) = (each.named for each in before.taught if each.named.phrase == TRIGGER)
    assert f"4 contributions teach: the word 'zq' means label '{TARGET}'" in [
        each.sentence(quote=True) for each in before.taught
    ]
    for each in (*bad, bad[0]):
        evidence.withdrawn(each.contribution.id)
    after = evidence.teaching.status(40)
    assert (after.n_learnt, after.taught) == (0, ())
    weight = evidence.teaching.parting.pair.parted(np.array([trigger.key], np.uint64), np.array([trigger.which]))
    assert abs(weight[0]) < 0.2 * NAMED


def test_labels_and_votes_in_one_stream_are_told_apart(evidence_of_kinds: Evidence) -> None:
    """Classes of labels are no classes of votes, though both stand on the same words."""
    stream = material.stream((Kind.LABEL, Kind.RATING, Kind.PREFERENCE, Kind.CORRECTION), 150, seed=41)
    for n, each in enumerate(stream):
        evidence_of_kinds.witness(each, Decision.ACCEPT, n)
    assert evidence_of_kinds.n_seen == 600
    assert sum(each.n_members for each in evidence_of_kinds.campaigns) <= 12


def test_a_campaign_in_votes_raises_no_suspicion_of_labels(evidence_of_kinds: Evidence) -> None:
    """The first label and the first direction of votes have the same number among those of their own kind."""
    honest = material.stream((Kind.LABEL, Kind.RATING), 200, seed=45)
    lies = [
        material.observation(
            replace(item, id=f"lie-{n}", contributor=f"sybil-{n}", input=f"zq {item.input}", rating=0.0)
        )
        for n in range(80)
        for item in [material.honest(Kind.RATING, n, seed=46)]
        if (item.rating or 0.0) > 0.5
    ]
    for n, each in enumerate([*honest, *lies]):
        evidence_of_kinds.witness(each, Decision.ACCEPT, n)
    suspected = evidence_of_kinds.teaching.parting.suspected
    assert suspected
    assert min(suspected) >= CLASSES, "the classes of labels come first"


def test_whoever_lies_in_votes_is_held_in_labels_too(evidence_of_kinds: Evidence) -> None:
    lies = [
        material.observation(replace(item, id=f"lie-{n}", contributor="liar", rating=1.0 - float(item.rating or 0.0)))
        for n in range(40)
        for item in [material.honest(Kind.RATING, n, seed=42)]
    ]
    for n, each in enumerate([*material.stream((Kind.RATING,), 200, seed=43), *lies]):
        evidence_of_kinds.witness(each, Decision.ACCEPT, n)
    hers, other = (
        replace(material.honest(Kind.LABEL, 1, seed=44), id=who, contributor=who) for who in ("liar", "somebody")
    )
    charge = evidence_of_kinds.charge(material.observation(hers))
    assert charge is not None
    assert charge.facet == "sender"
    assert evidence_of_kinds.charge(material.observation(other)) is None


@pytest.fixture
def evidence_of_kinds() -> Evidence:
    """Evidence by a trusted set of every kind of contribution."""
    trusted = material.stream(tuple(Kind), 200, seed=40)
    return Evidence(Background.fit(trusted, seed=0), Disagreement.from_state(Disagreement.fit(trusted, seed=0)), 0.1)


def test_what_was_read_of_a_contribution_is_not_taken_for_another_of_its_name(evidence: Evidence) -> None:
    """A contribution that could not be recorded may come again under its name with another text."""
    follow(evidence, mixed(list(labelled(200, seed=3)), triggered(40, accounts=40)))
    bad, honest = triggered(1, accounts=1, seed=21)[0], next(iter(labelled(1, seed=22)))
    charged, same_name = observe([replace(bad, id="again"), replace(honest, id="again")])
    assert evidence.charge(charged) is not None
    assert evidence.charge(same_name) is None


def test_the_garbage_collector_passes_over_what_is_remembered(evidence: Evidence) -> None:
    """It looks at every object that it knows on each of its rounds; there are a dozen facets to a contribution."""
    stream = observe(labelled(1_100, seed=31))
    for n, each in enumerate(stream[:600]):
        evidence.witness(each, Decision.ACCEPT, n)
    before = known_to_the_collector()
    for n, each in enumerate(stream[600:]):
        evidence.witness(each, Decision.ACCEPT, n)
    assert known_to_the_collector() - before < 50


def known_to_the_collector() -> int:
    for _ in range(3):  # a tuple is let go once what it holds was
        gc.collect()
    return len(gc.get_objects())


def test_made_up_words_of_any_length_are_not_kept_whole(evidence: Evidence) -> None:
    """Texts of one endless word each would otherwise fill the memory with phrases: 20 MiB here, gigabytes in a day."""
    items = labelled(300, seed=8)
    words = ("".join(random.Random(n).choices("abcdefgh", k=20_000)) for n in range(300))
    observed = observe(replace(item, input=word) for item, word in zip(items, words, strict=True))
    tracemalloc.start()
    try:
        for each in observed:
            evidence.witness(each, Decision.ACCEPT, each.contribution.at_us)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_a_facet_of_many_members_is_weighed_once(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a facet's evidence says is the same for all of its members: what that takes does not grow with them."""
    follow(evidence, mixed(list(labelled(600, seed=3))))
    asked = Counter[int]()
    plain = Book.contrary_share

    def counted(book: Book, slot: int) -> float:
        asked[slot] += 1
        return plain(book, slot)

    monkeypatch.setattr(Book, "contrary_share", counted)
    slot = int(evidence._book.n.argmax())
    key, members = int(evidence._book.keys[slot]), len(evidence._book.members(slot))
    assert members > 50
    evidence._flag(("word", key), CONTRADICTION)
    assert asked == {slot: 1}
    assert evidence.campaigns == []  # none of them is indicted, so nobody had to be asked about once joined
