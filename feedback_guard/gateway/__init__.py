"""The door for endpoints in any language: a reverse proxy around the same middleware.

`proxy.Proxy` is the application that `FeedbackGuardMiddleware` wraps: it gives each request to the one upstream that
the operator configured. `protocol.GatewayProtocol` is the server's side: strict about what a request is, and about how
long it may take. `supervisor` runs them as processes.
"""
