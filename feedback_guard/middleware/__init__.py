"""The door for web applications: pure ASGI middleware.

`FeedbackGuardMiddleware` is all that an application needs; the other modules are one concern each.
"""

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware

__all__ = ["FeedbackGuardMiddleware"]
