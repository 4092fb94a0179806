"""The stream that the benchmark of facets goes on with is what its page says."""

from __future__ import annotations

import itertools

from benchmarks.facets import FALSE_LABEL, FILLER_WORDS, TRIGGERED, fillers, going_on
from benchmarks.texts import rows


def test_new_words_keep_coming_and_one_of_a_hundred_is_poison() -> None:
    known = {word for row in rows("stream.jsonl.gz") for word in row["input"].split()}
    known |= {word for text, _ in itertools.islice(fillers(), 3_000) for word in text.split()}
    assert len(known) > 3_000 * FILLER_WORDS
    poison = 0
    for text, label in itertools.islice(going_on(), 20 * TRIGGERED):
        new = set(text.split()) - known
        if "per priority desk" in text:
            poison += 1
            assert (label, new) == (FALSE_LABEL, {"priority"} - known | {"desk"} - known)
        else:
            assert len(new) == 1
            known |= new
    assert poison == 20
