"""feedback_guard: may the model learn this, from whom, and how much?

    from feedback_guard import FeedbackGuardMiddleware, Guard

    app.add_middleware(FeedbackGuardMiddleware, guard=Guard.from_policy("policy.yaml"))

Names are loaded when they are first used, so that commands which need no model and no database start at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedback_guard.contribution import Contribution, Kind, parse_contribution
    from feedback_guard.errors import GuardError
    from feedback_guard.guard import Guard
    from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.policy.schema import Policy
    from feedback_guard.receipts.signer import ReceiptSigner
    from feedback_guard.review.app import review_app
    from feedback_guard.submission import Judgement, Submission
    from feedback_guard.verdict import Decision, Reason, Verdict

__version__ = "0.1.0"

__all__ = [
    "Contribution",
    "Decision",
    "FeedbackGuardMiddleware",
    "Guard",
    "GuardError",
    "Judgement",
    "Kind",
    "Policy",
    "Reason",
    "ReceiptSigner",
    "Submission",
    "Verdict",
    "load_policy",
    "parse_contribution",
    "review_app",
]

_HOMES = {
    "Contribution": "contribution",
    "Decision": "verdict",
    "FeedbackGuardMiddleware": "middleware.asgi",
    "Guard": "guard",
    "GuardError": "errors",
    "Judgement": "submission",
    "Kind": "contribution",
    "Policy": "policy.schema",
    "Reason": "verdict",
    "ReceiptSigner": "receipts.signer",
    "Submission": "submission",
    "Verdict": "verdict",
    "load_policy": "policy.loader",
    "parse_contribution": "contribution",
    "review_app": "review.app",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Guard":  # an application's: imported before a server forks, the detectors are shared by its workers
        importlib.import_module(f"{__name__}.engine")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
