"""Serves MODULE:ATTRIBUTE on a free port, and writes the port to standard output when it is ready.

python -m tests.hosts.child mlflow_guarded:app
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import Any

import uvicorn


def main(name: str) -> None:
    # What the application prints is not the port.
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, attribute = name.partition(":")
    app: Any = getattr(importlib.import_module(module), attribute)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", proxy_headers=False, log_level="warning"))
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await started(sockets=sockets)
        if server.started:
            print(listening.getsockname()[1], file=ready, flush=True)

    server.startup = startup  # type: ignore[method-assign]
    server.run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
