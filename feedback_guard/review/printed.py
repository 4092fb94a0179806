"""An item in a terminal. Whatever was contributed is escaped, and stands behind a bar that is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from feedback_guard.review import words
from feedback_guard.review.display import terminal
from feedback_guard.review.documents import leading
from feedback_guard.review.rows import why_held
from feedback_guard.review.views import fields_of
from feedback_guard.review.ways import ways
from feedback_guard.store.records import StoredContribution, StoredSubmission


def row(stored: StoredSubmission, now_us: int) -> tuple[str, ...]:
    """The cells of an item in a list."""
    item = leading(stored)
    reason, odds = why_held(item)
    return (
        stored.id,
        words.duration(now_us - stored.at_us),
        terminal(stored.route, identifier=True),
        item.contribution.kind.value,
        terminal(item.contribution.contributor, max_chars=40, identifier=True),
        words.suspicion(item.verdict.suspicion),
        f"{reason} ({odds})" if reason else "",
    )


def undelivered_row(stored: StoredSubmission, now_us: int) -> tuple[str, ...]:
    """The cells of a request that did not plainly arrive."""
    detail = stored.detail
    why = detail.get("cause") or detail.get("reason") or (f"status {detail['status']}" if "status" in detail else "")
    return (
        stored.id,
        words.duration(now_us - stored.at_us),
        terminal(stored.route, identifier=True),
        words.DELIVERY_WORDS[stored.delivery][0],
        ", ".join(way.resolution.value for way in ways(stored)),
        terminal(str(why), max_chars=80),
    )


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows in columns, whole: an identifier that was cut to the terminal's width could not be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]


def describe(stored: StoredSubmission, now_us: int, campaigns: Mapping[str, str]) -> Iterator[str]:
    """An item whole, line by line, with the campaigns of its contributions by their identifiers."""
    yield f"item      {stored.id}, version {stored.version}"
    yield f"arrived   {words.moment(stored.at_us)}, {words.duration(now_us - stored.at_us)} ago"
    yield f"route     {terminal(stored.route, identifier=True) or '(none)'}"
    yield f"request   {delivery(stored)}"
    open_ways = ways(stored)
    if open_ways:
        yield f"ways on   {', '.join(way.resolution.value for way in open_ways)}"
    for number, item in enumerate(stored.contributions, 1):
        yield ""
        yield from _describe_one(item, f"{number} of {len(stored.contributions)}", campaigns.get(item.contribution.id))


def _describe_one(item: StoredContribution, place: str, campaign: str | None) -> Iterator[str]:
    contribution, verdict = item.contribution, item.verdict
    yield f"{place}: {contribution.kind.value}, {item.learning.value}"
    yield f"  contributor  {terminal(contribution.contributor, identifier=True)}"
    for name, value in sorted(contribution.groups.items()):
        yield f"  group        {terminal(name, identifier=True)}: {terminal(value, identifier=True)}"
    for field in fields_of(contribution):
        yield f"  {field.name}{'' if field.taught else ' (sent along, not learnt)'}"
        # The bar in front of each line keeps a text from passing for one of these headings.
        yield from (f"    | {terminal(line, identifier=field.short)}" for line in field.text.split("\n"))
    if campaign:
        yield f"  - It belongs to a campaign: `feedback-guard review campaign {campaign}` says what its members share"
    yield f"  suspicion {words.suspicion(verdict.suspicion)}: {words.odds(1.0 - verdict.suspicion)}"
    for reason in verdict.reasons:
        odds = words.own_odds(reason.p_value, reason.message)
        rate = f" ({odds})" if odds else ""
        facet = f" [{terminal(reason.facet, identifier=True)}]" if reason.facet else ""
        yield f"  - {words.signal(reason.signal)}: {terminal(reason.message)}{rate}{facet}"
    yield f"  judged by policy {terminal(verdict.policy)}, baseline {terminal(verdict.baseline or 'none')}"


def delivery(stored: StoredSubmission) -> str:
    """Where the request of an item stands, in words."""
    state, sentence = words.DELIVERY_WORDS[stored.delivery]
    return f"{state}. {sentence}"
