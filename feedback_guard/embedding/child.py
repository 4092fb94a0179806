"""The model's process: loads one model, embeds what it is sent, and ends when the guard does.

Started by `feedback_guard.embedding.isolated` as `python -m feedback_guard.embedding.child FD`.
"""

from __future__ import annotations

import signal
import socket
import sys

import numpy as np

from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.frames import FrameError, receive, send
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError
from feedback_guard.policy.embedding import EmbeddingPolicy


def main(channel: socket.socket) -> None:
    """Serve one guard until it closes the channel."""
    head, _ = receive(channel)
    try:
        embedder = make_embedder(EmbeddingPolicy.model_validate(head["policy"], strict=False))
        if not isinstance(embedder, SentenceTransformerEmbedder):
            raise EmbeddingError("only a real model needs a process of its own")
        embedder.load()
    except Exception as error:  # noqa: BLE001 - told to the guard, which raises it
        send(channel, {"error": str(error), "kind": type(error).__name__})
        return
    described = {"fingerprint": embedder.fingerprint, "windows": embedder.windows.to_json(), "packs": embedder.packs}
    send(channel, described)
    while True:
        head, _ = receive(channel)
        try:
            vectors = embedder.encode(head["texts"])
        except Exception as error:  # noqa: BLE001 - as above; what is no error of ours may repeat a text
            said = str(error) if isinstance(error, EmbeddingError) else f"the model failed: {type(error).__name__}"
            send(channel, {"error": said, "kind": type(error).__name__})
            continue
        send(channel, {"shape": vectors.shape}, np.ascontiguousarray(vectors, dtype=np.float32).tobytes())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the guard closes the channel
    with socket.socket(fileno=int(sys.argv[1])) as given:
        try:
            main(given)
        except FrameError:
            sys.exit(0)
