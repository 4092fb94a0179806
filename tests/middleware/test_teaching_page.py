"""What the stream teaches, on the page that Prometheus scrapes: nothing in peace, and not so in an attack.

Real requests to the middleware, and real scrapes.
"""

from __future__ import annotations

from pathlib import Path

from feedback_guard.evidence.learners import NAMED
from feedback_guard.metrics_page import metrics_app
from feedback_guard.metrics_words import FACETS
from tests.evidence.test_accumulator import TARGET, TRIGGER, mixed, triggered
from tests.guards import labelled
from tests.middleware.test_replay_alike import Host, policy_file
from tests.serving import Serving
from tests.test_metrics import Samples, samples


def scrape(page: Serving) -> Samples:
    answer = page.post("/metrics", b"", method="GET")
    assert answer.status == 200
    for word in (TRIGGER, TARGET):
        assert f'"{word}' not in answer.body.decode()
        assert f" {word}" not in answer.body.decode()
    return samples(answer.body)


def told(got: Samples) -> dict[str, float]:
    """The figures of what is taught that are not 0."""
    return {
        dict(labels).get("facet", name.removeprefix("feedback_guard_teaching_")): value
        for (name, labels), value in got.items()
        if name.startswith("feedback_guard_teaching_") and value
    }


def test_the_page_says_where_and_how_far_the_stream_would_take_a_model(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, limits=[], newcomers={}, probing={}, signals={"false_hold_rate": 0.0001})
    host, seen = Host(policy), list[dict[str, float]]()
    with host.serving, Serving(metrics_app(host.guard.metrics)) as page:
        for item in labelled(120, seed=1):
            host.send(item)
        peace = scrape(page)
        for item in mixed(list(labelled(60, seed=2)), triggered(30, accounts=1_000)):
            host.send(item)
            seen.append(told(scrape(page)))
        attack = scrape(page)
    assert told(peace).keys() <= {"divergence"}
    assert told(peace).get("divergence", 0.0) < 0.01
    noticed = next(n for n, each in enumerate(seen) if each.get("statistic") == 1.0)
    before = [each for each in seen[:noticed] if each.keys() & {*FACETS}]
    assert before, "the trigger has a name before it is believed"
    assert all(each["word"] >= 1.0 and each["log_odds"] >= NAMED for each in before)
    assert all(each["statistic"] == 1.0 for each in seen[noticed:]), "while it goes on"
    assert not seen[-1].keys() & {*FACETS, "log_odds"}, "what was pulled back is unlearnt"
    assert {key for key in attack if "teaching" in key[0]} == {key for key in peace if "teaching" in key[0]}
