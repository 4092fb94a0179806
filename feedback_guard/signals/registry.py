"""All signals, by the name that policies, baselines and verdicts use."""

from __future__ import annotations

from feedback_guard.signals.anomaly import Anomaly
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Signal
from feedback_guard.signals.near_duplicate import NearDuplicate
from feedback_guard.signals.novelty import Novelty
from feedback_guard.signals.obfuscation import Obfuscation

SIGNALS: dict[str, type[Signal]] = {
    signal.name: signal for signal in (Disagreement, Novelty, Anomaly, NearDuplicate, Obfuscation)
}
"""Signal classes by name."""
