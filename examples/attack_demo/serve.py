"""A child process of the demo: the assistant, and with a policy also the guard and its review page.

    python -m attack_demo.serve --assistant-fd FD [--policy FILE --review-fd FD]

It serves on sockets that its parent has opened, and ends when its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from bank_assistant.app import create_app
from feedback_guard import Guard, review_app


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5))


async def _serve(assistant_fd: int, review_fd: int | None, policy: Path | None) -> None:
    guard = Guard.from_policy(policy) if policy is not None else None
    servers = {assistant_fd: _server(create_app(guard))}
    if guard is not None and review_fd is not None:
        await guard.start()
        servers[review_fd] = _server(review_app(guard))

    def stop() -> None:
        for server in servers.values():
            server.should_exit = True

    async def until_input_ends() -> None:
        await asyncio.to_thread(sys.stdin.read)
        stop()

    parent = asyncio.create_task(until_input_ends())
    try:
        await asyncio.gather(
            *(server.serve(sockets=[socket.socket(fileno=fd)]) for fd, server in servers.items()),
        )
    finally:
        parent.cancel()
        if guard is not None:
            await guard.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assistant-fd", type=int, required=True)
    parser.add_argument("--review-fd", type=int)
    parser.add_argument("--policy", type=Path)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.assistant_fd, arguments.review_fd, arguments.policy))


if __name__ == "__main__":
    main()
