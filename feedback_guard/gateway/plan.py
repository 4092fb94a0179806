"""What a process of the gateway is told by the one that starts it, as one line of JSON on its standard input.

The policy travels whole: a file that is edited while the gateway runs must not give workers of different minds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from feedback_guard.gateway.app import Passage
from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.wires import Patience
from feedback_guard.policy.schema import Policy


@dataclass(frozen=True, slots=True)
class Plan:
    """How a gateway runs.

    Parameters
    ----------
    policy
        What the operator decided.
    passage
        How requests get to the upstream.
    bounds
        Of the public listener.
    drain_seconds
        How long requests in progress may take after the end was asked for.
    """

    policy: Policy
    passage: Passage
    bounds: Bounds = field(default_factory=Bounds)
    drain_seconds: float = 15.0

    def to_json(self) -> str:
        r"""Write it as one line.

        Examples
        --------
        >>> plan = Plan(Policy(), Passage("http://127.0.0.1:5000", trusted_proxies=("10.0.0.0/8",)))
        >>> Plan.from_json(plan.to_json()) == plan
        True
        """
        value = {
            "policy": self.policy.model_dump(mode="json"),
            "passage": asdict(self.passage),
            "bounds": asdict(self.bounds),
            "drain_seconds": self.drain_seconds,
        }
        return json.dumps(value)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        value = json.loads(line)
        passage = value["passage"]
        passage["trusted_proxies"] = tuple(passage["trusted_proxies"])
        passage["patience"] = Patience(**passage["patience"])
        return cls(
            policy=Policy.model_validate_json(json.dumps(value["policy"])),
            passage=Passage(**passage),
            bounds=Bounds(**value["bounds"]),
            drain_seconds=value["drain_seconds"],
        )
