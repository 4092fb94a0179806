"""The application under load: one endpoint that takes feedback, bare or wrapped by the guard."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from feedback_guard import FeedbackGuardMiddleware, Guard


class HeaderBackend(AuthenticationBackend):
    """Believes the header `X-User`: this application is for measuring only."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Name the user."""
        user = conn.headers.get("x-user")
        return (AuthCredentials(["authenticated"]), SimpleUser(user)) if user else None


async def feedback(request: Request) -> JSONResponse:
    """Take a correction."""
    body = await request.json()
    return JSONResponse({"taken": len(body["question"])})


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Say on the standard output that the application is ready."""
    print("ready", flush=True)
    yield


def main() -> None:
    """Serve on the given socket until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--policy", help="wrap the application by a guard with this policy")
    args = parser.parse_args()
    app = Starlette(routes=[Route("/feedback", feedback, methods=["POST"])], lifespan=lifespan)
    if args.policy:
        app.add_middleware(FeedbackGuardMiddleware, guard=Guard.from_policy(args.policy))
    app.add_middleware(AuthenticationMiddleware, backend=HeaderBackend())
    server = socket.socket(fileno=os.dup(args.fd))
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[server])


if __name__ == "__main__":
    main()
