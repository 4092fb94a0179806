"""Makes receipts: for an application's own answers, and for the middleware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS, Clock, SystemClock
from feedback_guard.errors import UsageError
from feedback_guard.names import encodes
from feedback_guard.receipts.form import DIGEST_BYTES, Binding, Receipt, TextDigest, pack, text_digest
from feedback_guard.receipts.keys import ReceiptKeys

if TYPE_CHECKING:
    from feedback_guard.policy.schema import Policy

DEFAULT_LIFETIME_US: Final = 7 * 86_400 * MICROSECONDS
"""How long a receipt is good unless the policy says otherwise, in microseconds."""
DEFAULT_AUDIENCE: Final = "default"


class ReceiptSigner:
    """Signs what was served to whom.

    An application uses it for its own answers; `feedback_guard.middleware.serving` uses it for whole endpoints.

    Parameters
    ----------
    keys
        The newest one signs.
    lifetime_us
        How long a receipt is good, in microseconds: at least a second, at most 366 days.
    clock
        Where the time comes from; the system's by default.

    Raises
    ------
    UsageError
        If the lifetime is out of bounds.

    Examples
    --------
    >>> signer = ReceiptSigner(ReceiptKeys([bytes(32)]))
    >>> receipt = signer.sign(interaction="chat-7", contributor="ada", output="Your card is on its way.")
    >>> receipt[:2], len(receipt) < 400
    ('1.', True)
    """

    def __init__(
        self, keys: ReceiptKeys, *, lifetime_us: int = DEFAULT_LIFETIME_US, clock: Clock | None = None
    ) -> None:
        if not MICROSECONDS <= lifetime_us <= settings.MAX_RECEIPT_LIFETIME_US:
            raise UsageError(f"a receipt is good for 1 s to 366 days, not for {lifetime_us} us")
        self._keys = keys
        self._lifetime_us = lifetime_us
        self._clock = clock or SystemClock()

    @classmethod
    def from_policy(cls, policy: Policy | str | Path, *, clock: Clock | None = None) -> Self:
        """Make a signer from a policy, its path, or the name of a preset; neither model nor store is opened.

        Raises
        ------
        PolicyError
            If the file is wrong.
        UsageError
            If it does not say where the keys are.
        CredentialError
            If they are not there.
        """
        from feedback_guard.policy.loader import load_policy

        loaded = load_policy(policy).policy if isinstance(policy, str | Path) else policy
        if loaded.receipts.keys is None:
            raise UsageError("the policy does not say where the keys of receipts are; set `receipts.keys`")
        return cls(ReceiptKeys.read(loaded.receipts.keys), lifetime_us=loaded.receipts.lifetime, clock=clock)

    def sign(
        self,
        *,
        interaction: str,
        contributor: str,
        output: str | bytes | TextDigest | None = None,
        input: str | None = None,  # noqa: A002 - as a contribution calls it
        model: str = "",
        audience: str = DEFAULT_AUDIENCE,
        recorded: bool = False,
    ) -> str:
        """Make a receipt, for the header `Feedback-Receipt` or for wherever the client finds it.

        Parameters
        ----------
        interaction
            Identifier of the served output. The same output has the same one whenever it is served: a contributor has
            one live vote for each.
        contributor
            Whom it is served to, by the name that identity gives to whoever sends the feedback.
        output
            The served text, or its digest. Without it the receipt does not say what was served, and a route takes it
            only if its policy has `unbound: accept`.
        input
            The text that it answers; feedback must then speak of the same.
        model
            Name of the model that served.
        audience
            For which routes it is good.
        recorded
            True says that the digest is written to the store, when the answer is at its end.

        Raises
        ------
        UsageError
            If a name is empty or too long, or both `output` and `recorded` are given.
        """
        for name, value, least in (
            ("interaction", interaction, 1),
            ("contributor", contributor, 1),
            ("model", model, 0),
        ):
            if not least <= len(value) <= settings.MAX_ID_CHARS:
                raise UsageError(f"{name} has {least} to {settings.MAX_ID_CHARS} characters, not {len(value)}")
            if not encodes(value):
                raise UsageError(f"{name} cannot be written in UTF-8")
        if not 1 <= len(audience) <= 64 or not audience.isascii():
            raise UsageError("audience is a name of 1 to 64 ASCII characters")
        if recorded and output is not None:
            raise UsageError("the digest of the output is either in the receipt or in the store, not in both")
        digest = _digest(output)
        issued_us, key = self._clock.now_us(), self._keys.newest
        receipt = Receipt(
            key_id=key.ident,
            audience=audience,
            interaction=interaction,
            contributor=key.name(contributor),
            model=model,
            binding=Binding.RECORDED if recorded else Binding.DIGEST if digest else Binding.NONE,
            output=digest,
            input=b"" if input is None else text_digest(input),
            issued_us=issued_us,
            expires_us=issued_us + self._lifetime_us,
        )
        return pack(receipt, key.mac(receipt.canonical()))


def _digest(output: str | bytes | TextDigest | None) -> bytes:
    if output is None:
        return b""
    if isinstance(output, TextDigest):
        return output.digest()
    if isinstance(output, str):
        return text_digest(output)
    if len(output) != DIGEST_BYTES:
        raise UsageError(f"a digest has {DIGEST_BYTES} bytes, not {len(output)}; give a text as str")
    return output
