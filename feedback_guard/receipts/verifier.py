"""Holds feedback against the receipt that it came with. Stateless; whether it is used up, `votes` knows.

The order: size and form, key, MAC, then what it says. Nothing that it says is looked at before its MAC was found to be
right. MACs, names and digests are compared in constant time.
"""

from __future__ import annotations

import hmac

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import ReceiptError, Refused
from feedback_guard.policy.receipts import RouteReceiptPolicy
from feedback_guard.receipts.form import Binding, Receipt, text_digest, unpack
from feedback_guard.receipts.keys import ReceiptKeys


class Verifier:
    """Believes what one of its keys signed.

    Parameters
    ----------
    keys
        All of them are believed.
    leeway_us
        How far the clocks of those who sign may be off, in microseconds.

    Examples
    --------
    >>> from feedback_guard.clock import ManualClock
    >>> from feedback_guard.receipts.signer import ReceiptSigner
    >>> keys = ReceiptKeys([bytes(32)])
    >>> receipt = ReceiptSigner(keys, clock=ManualClock(0)).sign(interaction="chat-7", contributor="ada")
    >>> check = Verifier(keys, leeway_us=0).check
    >>> check(receipt, contributor="ada", audience="default", now_us=5).interaction
    'chat-7'
    >>> check(receipt, contributor="eve", audience="default", now_us=5)
    Traceback (most recent call last):
    ...
    feedback_guard.errors.ReceiptError: the receipt is refused: other contributor
    """

    def __init__(self, keys: ReceiptKeys, *, leeway_us: int) -> None:
        self._keys = keys
        self._leeway_us = leeway_us

    def check(self, text: str, *, contributor: str, audience: str, now_us: int) -> Receipt:
        """Read a receipt, and see that it is good here, now, and for this contributor.

        Raises
        ------
        ReceiptError
            Saying what is wrong.
        """
        receipt, mac = unpack(text)
        key = self._keys.find(receipt.key_id)
        if key is None:
            raise ReceiptError(Refused.UNKNOWN_KEY)
        if not hmac.compare_digest(key.mac(receipt.canonical()), mac):
            raise ReceiptError(Refused.FORGED)
        if receipt.audience != audience:
            raise ReceiptError(Refused.OTHER_AUDIENCE)
        if receipt.issued_us > now_us + self._leeway_us:
            raise ReceiptError(Refused.EARLY)
        if receipt.expires_us <= now_us - self._leeway_us:
            raise ReceiptError(Refused.EXPIRED)
        if not hmac.compare_digest(key.name(contributor), receipt.contributor):
            raise ReceiptError(Refused.OTHER_CONTRIBUTOR)
        return receipt


def check_contribution(receipt: Receipt, item: Contribution, policy: RouteReceiptPolicy) -> tuple[bytes, ...]:
    """See that a contribution speaks of what the receipt is for.

    Returns
    -------
    tuple of bytes
        Digests of the texts of which one must be the served one, where that stands in the store; empty otherwise.

    Raises
    ------
    ReceiptError
        If it speaks of another interaction, model, input or output, or of a text that the receipt does not know.
    """
    if item.interaction is not None and item.interaction != receipt.interaction:
        raise ReceiptError(Refused.OTHER_INTERACTION)
    if item.model is not None and receipt.model and item.model != receipt.model:
        raise ReceiptError(Refused.OTHER_MODEL)
    if receipt.input and not hmac.compare_digest(text_digest(item.input), receipt.input):
        raise ReceiptError(Refused.OTHER_OUTPUT)
    said = tuple(text_digest(text) for text in served_texts(item))
    if not said:
        return ()
    if receipt.binding is Binding.RECORDED:
        return said
    if receipt.binding is Binding.NONE:
        if policy.unbound == "refuse":
            raise ReceiptError(Refused.UNBOUND)
        return ()
    if not sum(hmac.compare_digest(digest, receipt.output) for digest in said):
        raise ReceiptError(Refused.OTHER_OUTPUT)
    return ()


def served_texts(item: Contribution) -> tuple[str, ...]:
    """Texts of a contribution of which one was served, if it holds any.

    A rating speaks of its `output`, a correction of what it rejects, a preference of one of its two texts. Labels and
    demonstrations hold no served text: they are bound by their interaction.
    """
    found = {
        Kind.RATING: (item.output,),
        Kind.CORRECTION: (item.rejected,),
        Kind.PREFERENCE: (item.chosen, item.rejected),
        Kind.LABEL: (),
        Kind.DEMONSTRATION: (),
    }[item.kind]
    return tuple(text for text in found if text is not None)
