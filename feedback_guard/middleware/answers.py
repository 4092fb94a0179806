"""What a route answers by itself: from its template where it has one, else as `replies` says.

A template that fails on a body changes nothing of what was decided and recorded: a plain answer goes out instead, and
the failure is counted and logged, without the text that it failed on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jmespath.exceptions import JMESPathError
from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.contribution import Contribution
from feedback_guard.errors import GuardError
from feedback_guard.limits.interface import Measure
from feedback_guard.middleware.expressions import AnswerFunctions, compile_expression, search
from feedback_guard.middleware.interface import RequestMetrics
from feedback_guard.middleware.replies import BadInputError, Reply, decided, held, received
from feedback_guard.policy.answers import Acknowledge, HeldAnswerPolicy
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement
from feedback_guard.verdict import Decision

log = logging.getLogger(__name__)

_NO_BODY: Final = frozenset({204, 205})


class TemplateError(GuardError):
    """A template cannot make an answer from this body. The message names no contributed text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is made from.

    Parameters
    ----------
    document
        The request's body, as the extraction saw it.
    params
        The parameters of its path.
    query
        Its query, as it was sent.
    first
        Its first contribution, which says when it came and whose it is.
    """

    document: JsonValue
    params: Mapping[str, str]
    query: bytes
    first: Contribution


class Template:
    """Makes answers as a policy describes them.

    Parameters
    ----------
    policy
        Status, headers and body.
    params
        Names of the path's parameters.
    where
        Begins the message of an error, such as `routes: feedback: held_answer`.

    Raises
    ------
    PolicyError
        If the expression calls what does not exist, or a status that has no body is given one.

    Examples
    --------
    >>> from feedback_guard.contribution import Kind
    >>> made = Template(HeldAnswerPolicy(status=200, body="{id: id(), text: text}"), [], "held_answer")
    >>> asked = Asked({"text": "where is my card?"}, {}, b"", Contribution("c-1", 0, "ada", Kind.LABEL, "x"))
    >>> made.reply(asked, "s-1").body
    b'{"id":"s-1","text":"where is my card?"}'
    """

    def __init__(self, policy: HeldAnswerPolicy, params: Sequence[str], where: str) -> None:
        self._status = policy.status
        self._body: Any = None
        if policy.body is not None:
            self._body = compile_expression(policy.body, AnswerFunctions, params, f"{where}.body")
        names = {name.lower() for name in policy.headers}
        fields = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in policy.headers.items()]
        if self._body is not None and "content-type" not in names:
            fields.insert(0, (b"content-type", b"application/json"))
        if "cache-control" not in names:
            fields.append((b"cache-control", b"no-store"))
        self._fields = tuple(fields)

    def reply(self, asked: Asked, ident: str) -> Reply:
        """Make the answer for one submission.

        Raises
        ------
        TemplateError
            If the expression fails on this body, or makes too much of it.
        """
        if self._body is None:
            length = () if self._status in _NO_BODY else ((b"content-length", b"0"),)
            return Reply(self._status, b"", (*self._fields, *length))
        first = asked.first
        functions = AnswerFunctions(
            asked.params, asked.query, ident=ident, at_us=first.at_us, contributor=first.contributor
        )
        try:
            made = search(self._body, asked.document, functions)
            body = json.dumps(made, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
        except (JMESPathError, BadInputError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TemplateError(f"the expression fails on a body ({type(error).__name__})") from None
        if len(body) > settings.MAX_ANSWER_BYTES:
            raise TemplateError(f"the answer would be larger than {settings.MAX_ANSWER_BYTES} bytes")
        return Reply(self._status, body, (*self._fields, (b"content-length", str(len(body)).encode("ascii"))))


class Answers:
    """The answers of one route.

    Parameters
    ----------
    route
        The policy's route.
    params
        Names of its path's parameters.
    metrics
        Where a failing template is counted.

    Raises
    ------
    PolicyError
        If its template cannot work.
    """

    def __init__(self, route: RoutePolicy, params: Sequence[str], metrics: RequestMetrics) -> None:
        self._route = route.name
        self._metrics = metrics
        self.uniform = route.acknowledge is Acknowledge.UNIFORM
        """Whether the answer must not show what was decided."""
        self._template: Template | None = None
        if route.held_answer is not None:
            self._template = Template(route.held_answer, params, f"routes: {route.name}: held_answer")

    def conceals(self, judgement: Judgement) -> bool:
        """Whether a judgement is answered like any other of this route.

        Not a refusal by a budget that counts attempts: how often somebody sent something, he knows, and an honest
        client needs to know when to come back.
        """
        refusal = judgement.refusal
        counted = refusal is not None and refusal.charge.budget.measure is Measure.COUNT
        return self.uniform and not (judgement.decision is Decision.LIMIT and counted)

    def of(self, judgement: Judgement, asked: Asked) -> Reply:
        """Make the answer to a judgement that the application does not answer, or that is concealed."""
        if judgement.delivery is Delivery.HELD or self.conceals(judgement):
            return self.acknowledged(asked, judgement.submission)
        return decided(judgement)

    def acknowledged(self, asked: Asked, ident: str) -> Reply:
        """Make the answer for a held submission, and on a uniform route for any."""
        if self._template is not None:
            try:
                return self._template.reply(asked, ident)
            except TemplateError as error:
                log.error("route %s: held_answer: %s; a plain answer goes out", self._route, error)
                self._metrics.failed("answer")
        return received(ident) if self.uniform else held(ident)
