"""The receipts that feedback comes with: found, held against what it says, and answered if they do not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from jmespath.exceptions import JMESPathError
from pydantic import JsonValue

from feedback_guard.contribution import Contribution
from feedback_guard.errors import ReceiptError, Refused
from feedback_guard.middleware.expressions import RequestFunctions, compile_expression, search
from feedback_guard.middleware.interface import JudgingGuard, Scope
from feedback_guard.middleware.replies import Problem
from feedback_guard.middleware.routes import Match, parameters
from feedback_guard.policy.receipts import RouteReceiptPolicy
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.receipts.form import Binding, Receipt
from feedback_guard.receipts.verifier import Verifier, check_contribution
from feedback_guard.store.votes import Vote, vote_key
from feedback_guard.submission import Submission

_Find = Callable[[JsonValue, Mapping[str, str], Scope], Any]

_BAD: Final = ("bad_receipt", "The receipt is not one of this service's. Send it as it came with the answer.")
_ELSEWHERE: Final = ("receipt_for_other", "The receipt belongs to another answer than the one that the feedback names.")
_PROBLEMS: Final[Mapping[Refused, tuple[int, str, str]]] = {
    Refused.MISSING: (
        403,
        "receipt_missing",
        "Feedback here needs the receipt that came with the answer it speaks of, in the header Feedback-Receipt or "
        "wherever this service wants it.",
    ),
    Refused.MALFORMED: (403, *_BAD),
    Refused.UNKNOWN_KEY: (403, *_BAD),
    Refused.FORGED: (403, *_BAD),
    Refused.OTHER_AUDIENCE: (403, "receipt_elsewhere", "The receipt is for another kind of feedback."),
    Refused.EARLY: (403, "receipt_early", "The receipt is not good yet: a clock is wrong."),
    Refused.EXPIRED: (403, "receipt_expired", "The receipt has expired. Ask again for an answer, and rate that."),
    Refused.OTHER_CONTRIBUTOR: (403, "receipt_of_another", "The receipt was given to somebody else."),
    Refused.OTHER_INTERACTION: (403, *_ELSEWHERE),
    Refused.OTHER_MODEL: (403, *_ELSEWHERE),
    Refused.OTHER_OUTPUT: (403, *_ELSEWHERE),
    Refused.UNBOUND: (403, "receipt_unbound", "The receipt does not say what was served, and the feedback does."),
    Refused.USED: (409, "receipt_used", "There is feedback of yours on this answer already."),
}


def problem_of(error: ReceiptError, route: str) -> Problem:
    """What the client is told of a receipt that is refused."""
    status, code, detail = _PROBLEMS[error.reason]
    return Problem(status, code, detail, extra={"route": route})


class Receipts:
    """Holds contributions against their receipts.

    Parameters
    ----------
    guard
        Has the keys.
    routes
        The policy's routes; expressions are compiled once.

    Raises
    ------
    PolicyError
        If an expression cannot work.
    """

    def __init__(self, guard: JudgingGuard, routes: Sequence[RoutePolicy]) -> None:
        self._guard = guard
        self._find: dict[str, _Find] = {
            route.name: _finder(route, route.receipt) for route in routes if route.receipt is not None
        }

    def hold(self, match: Match, scope: Scope, document: JsonValue, submission: Submission) -> Submission:
        """Return a submission with what its receipts say: interaction, model, and the votes that it is.

        Raises
        ------
        ReceiptError
            If a receipt is not there, or does not fit.
        GuardError
            If there are no keys.
        """
        policy = match.route.receipt
        if policy is None:
            return submission
        texts = self._texts(match, scope, document, len(submission.contributions))
        verifier, now_us = self._guard.receipts.verifier, self._guard.clock.now_us()
        known: dict[str, Receipt] = {}
        items: list[Contribution] = []
        votes: list[Vote] = []
        for item, text in zip(submission.contributions, texts, strict=True):
            receipt = known.get(text) or _checked(verifier, text, item.contributor, policy.audience, now_us)
            known[text] = receipt
            said = check_contribution(receipt, item, policy)
            items.append(replace(item, interaction=receipt.interaction, model=receipt.model or item.model))
            votes.append(_vote(receipt, item, policy, said))
        if len({vote.key_sha256 for vote in votes}) != len(votes):
            raise ReceiptError(Refused.USED)
        return replace(submission, contributions=tuple(items), votes=tuple(votes))

    def _texts(self, match: Match, scope: Scope, document: JsonValue, wanted: int) -> list[str]:
        found = self._find[match.route.name](document, match.params, scope)
        if found is None or found == "":
            raise ReceiptError(Refused.MISSING)
        texts = [found] * wanted if isinstance(found, str) else found
        if not isinstance(texts, list) or len(texts) != wanted or not all(isinstance(text, str) for text in texts):
            raise ReceiptError(Refused.MALFORMED)
        return texts


def _checked(verifier: Verifier, text: str, contributor: str, audience: str, now_us: int) -> Receipt:
    return verifier.check(text, contributor=contributor, audience=audience, now_us=now_us)


def _vote(receipt: Receipt, item: Contribution, policy: RouteReceiptPolicy, said: tuple[bytes, ...]) -> Vote:
    parts = (receipt.audience, receipt.interaction, item.contributor)
    recorded = receipt.binding is Binding.RECORDED and said
    return Vote(
        key_sha256=vote_key(*parts, *((item.kind.value,) if policy.per == "kind" else ())),
        replaces=policy.again == "replace",
        issued_us=receipt.issued_us,
        served_sha256=vote_key(*parts) if recorded else "",
        said=said,
    )


def _finder(route: RoutePolicy, policy: RouteReceiptPolicy) -> _Find:
    if policy.body is None:
        name = policy.header.lower().encode("ascii")
        return lambda _, __, scope: _from_header(scope, name)
    compiled = compile_expression(
        policy.body, RequestFunctions, parameters(route), f"routes: {route.name}: receipt.body"
    )

    def find(document: JsonValue, params: Mapping[str, str], scope: Scope) -> Any:
        try:
            return search(compiled, document, RequestFunctions(params, scope.get("query_string", b"")))
        except (JMESPathError, ValueError, TypeError, OverflowError):
            raise ReceiptError(Refused.MISSING) from None

    return find


def _from_header(scope: Scope, wanted: bytes) -> str | None:
    values = [value for name, value in scope["headers"] if name == wanted]
    if len(values) > 1:
        raise ReceiptError(Refused.MALFORMED)
    return values[0].decode("latin-1") if values else None
