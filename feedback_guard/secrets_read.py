"""Secrets that the policy names and never holds: in an environment variable, or in a file that an operator mounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from feedback_guard.errors import CredentialError
from feedback_guard.policy.replay import SecretSource

MAX_SECRET_BYTES: Final = 64 * 1024
"""Largest secret, in bytes."""


def read_secret(source: SecretSource, where: str) -> str:
    """Read a secret.

    Parameters
    ----------
    source
        Where it is.
    where
        The policy's key, for the message.

    Returns
    -------
    str
        Without surrounding white space, not empty.

    Raises
    ------
    CredentialError
        If it is not there, empty, too large or no text. The message never holds any of it.
    """
    if source.env is not None:
        text = os.environ.get(source.env)
        if text is None:
            raise CredentialError(
                f"{where}: the environment variable {source.env} is not set; set it, then start again"
            )
        named = f"the environment variable {source.env}"
    else:
        path = Path(str(source.file))
        named = f"the file {path}"
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_SECRET_BYTES + 1)
        except OSError as error:
            raise CredentialError(f"{where}: {named} cannot be read: {error.strerror}") from None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise CredentialError(f"{where}: {named} is not a text in UTF-8") from None
    if len(text.encode("utf-8", "surrogateescape")) > MAX_SECRET_BYTES:
        raise CredentialError(f"{where}: {named} holds more than {MAX_SECRET_BYTES} bytes; no secret needs that")
    if not text.strip():
        raise CredentialError(f"{where}: {named} is empty")
    return text.strip()
