"""A bounded load on a loopback address: closed-loop clients on kept-alive connections, as cheap as Python allows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measured:
    """What the clients saw."""

    clients: int
    requests: int
    errors: int
    per_second: float
    p50_ms: float
    p99_ms: float


def request_bytes(port: int, user: str, question: str, intent: str) -> bytes:
    """One POST as bytes."""
    body = json.dumps({"question": question, "intent": intent}).encode()
    head = (
        f"POST /feedback HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"X-User: {user}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def measure(port: int, requests: Sequence[bytes], *, clients: int, seconds: float) -> Measured:
    """Send requests over and over from a number of clients for a number of seconds.

    A status below 300 counts as an answer, anything else as an error.
    """
    latencies: list[float] = []
    errors = 0
    until = time.perf_counter() + seconds
    order = iter(range(10**9))

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (begin := time.perf_counter()) < until:
                writer.write(requests[next(order) % len(requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                latencies.append(time.perf_counter() - begin)
                errors += not head.startswith(b"HTTP/1.1 2")
        finally:
            writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99]) * 1_000 if latencies else (float("nan"), float("nan"))
    return Measured(clients, len(latencies), errors, len(latencies) / took, float(p50), float(p99))
