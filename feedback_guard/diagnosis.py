"""Is a deployment sound? Each check answers with a sentence; none changes anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from feedback_guard.clock import MICROSECONDS, Clock, format_iso8601
from feedback_guard.errors import GuardError
from feedback_guard.policy.embedding import Precision
from feedback_guard.policy.loader import LoadedPolicy
from feedback_guard.policy.schema import Policy
from feedback_guard.stranded import stranded_requests

EARLIEST_US = 1_767_225_600 * MICROSECONDS
"""2026-01-01: a clock before this is not set."""
CLOCK_SLACK_US = 5 * MICROSECONDS
"""How far the record may lie in the future before the clock is said to be wrong."""


class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One check's answer."""

    check: str
    health: Health
    message: str


Check = Callable[[LoadedPolicy, Clock], Iterator[tuple[Health, str]]]


def diagnose(loaded: LoadedPolicy, clock: Clock, *, with_model: bool = True) -> Iterator[Diagnosis]:
    """Run every check on a policy's deployment, one after another.

    Parameters
    ----------
    loaded
        The policy.
    clock
        The clock that the guard would use.
    with_model
        False leaves the embedding model unloaded, which takes seconds.
    """
    checks: dict[str, Check] = {
        "policy": _policy,
        "clock": _clock,
        "sqlite": _sqlite,
        "store": _store,
        "credentials": _credentials,
        "receipts": _receipts,
        "metrics": _metrics,
        "baseline": _baseline,
    }
    if with_model:
        checks["model"] = _model
    for name, check in checks.items():
        try:
            for health, message in check(loaded, clock):
                yield Diagnosis(name, health, message)
        except GuardError as error:
            yield Diagnosis(name, Health.FAILURE, str(error))


def _policy(loaded: LoadedPolicy, _: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.policy.checks import check_policy

    yield Health.OK, f"{loaded.policy.name}, mode {loaded.policy.mode}, {loaded.digest}"
    for warning in check_policy(loaded.policy):
        yield Health.WARNING, warning


def _clock(_: LoadedPolicy, clock: Clock) -> Iterator[tuple[Health, str]]:
    now_us = clock.now_us()
    if now_us < EARLIEST_US:
        yield Health.FAILURE, f"the clock says {format_iso8601(now_us)}; set it before budgets are counted by it"
    else:
        yield Health.OK, format_iso8601(now_us)


def _sqlite(loaded: LoadedPolicy, _: Clock) -> Iterator[tuple[Health, str]]:
    if not loaded.policy.store.url.startswith("sqlite"):
        yield Health.OK, "not used: the store is another database"
        return
    from feedback_guard.store.sqlite import assert_sqlite_version, sqlite_version

    assert_sqlite_version(sqlite_version())
    yield Health.OK, f"version {'.'.join(map(str, sqlite_version()))}, without the WAL-reset bug"


def _store(loaded: LoadedPolicy, clock: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.store.database import Store

    url = loaded.policy.store.url
    if url.startswith("sqlite:///"):
        folder = Path(url.removeprefix("sqlite:///")).absolute().parent
        if not folder.is_dir():
            yield Health.FAILURE, f"the folder {folder} does not exist; make it, or change store.url"
            return
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Health.FAILURE, f"{folder} cannot be written ({error.strerror}); change its owner, or store.url"
            return
    if _is_still_to_be_made(loaded):
        yield Health.OK, "not there yet; the guard makes it when it starts"
        return
    store = Store.open(loaded.policy.store, clock=clock)
    try:
        last = store.last_event()
        yield Health.OK, f"opens; {last.seq if last else 0} ledger entries"
        if last and last.at_us > clock.now_us() + CLOCK_SLACK_US:
            ahead = (last.at_us - clock.now_us()) / MICROSECONDS
            yield Health.WARNING, f"the last entry lies {ahead:.0f} s in the future: the clock was set back, or is slow"
        held = store.held_summary()
        if held.count >= loaded.policy.store.hold_capacity * 0.8:
            yield Health.WARNING, f"{held.count} of at most {loaded.policy.store.hold_capacity} items are held"
        for stranded in stranded_requests(store.kept_requests(), loaded.policy):
            yield (Health.WARNING if stranded.certain else Health.OK), stranded.message
    finally:
        store.close()


def _is_still_to_be_made(loaded: LoadedPolicy) -> bool:
    """Whether looking would make the store: a file of whoever looks, which the guard perhaps could not write then."""
    from sqlalchemy import make_url

    url = make_url(loaded.policy.store.url)
    return url.get_backend_name() == "sqlite" and bool(url.database) and not Path(str(url.database)).exists()


def _credentials(loaded: LoadedPolicy, clock: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.keyring import Keyring
    from feedback_guard.secrets_read import read_secret
    from feedback_guard.store.database import Store
    from feedback_guard.store.sealed import count_by_key

    policy = loaded.policy
    services = [route for route in policy.routes if route.service is not None]
    for route in services:
        if route.service is not None:
            read_secret(route.service, f"routes.{route.name}.service")
    if services:
        yield Health.OK, f"{len(services)} routes have a service credential, and it is there"
    if policy.credentials.keys is None:
        yield Health.OK, "clients' credentials are not kept"
        return
    ring = Keyring.read(policy.credentials.keys)
    if _is_still_to_be_made(loaded):
        yield Health.OK, f"those that are kept will be encrypted with the key {ring.newest}"
        return
    store = Store.open(policy.store, clock=clock)
    try:
        with store.reading() as connection:
            counts = count_by_key(connection)
    finally:
        store.close()
    yield Health.OK, f"kept ones are encrypted with the key {ring.newest}; {len(ring.ids)} can be read"
    for ident in sorted(counts.keys() - set(ring.ids)):
        yield (
            Health.FAILURE,
            f"{counts[ident]} kept need the key {ident}, which is not there: put it back, below the newest",
        )


def _receipts(loaded: LoadedPolicy, clock: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.receipts.keys import ReceiptKeys
    from feedback_guard.store.database import Store
    from feedback_guard.store.votes import latest_issued

    policy = loaded.policy
    if policy.receipts.keys is None:
        yield Health.OK, "none are asked for"
        return
    keys = ReceiptKeys.read(policy.receipts.keys)
    yield Health.OK, f"signed with the key {keys.newest.ident}; {len(keys.ids)} are believed"
    asking = [route.name for route in policy.routes if route.receipt is not None]
    if not asking:
        yield Health.WARNING, "no route asks for them; write `receipt: {}` in those that take feedback on answers"
    audiences = {route.receipt.audience for route in policy.routes if route.receipt is not None}
    for served in policy.receipts.serving:
        if asking and served.audience not in audiences:
            yield Health.WARNING, f"no route takes those of {served.name}: their audience is {served.audience}"
    if _is_still_to_be_made(loaded):
        return
    store = Store.open(policy.store, clock=clock)
    try:
        with store.reading() as connection:
            latest = latest_issued(connection)
    finally:
        store.close()
    if latest is not None and latest > clock.now_us() + policy.receipts.leeway:
        ahead = (latest - clock.now_us()) / MICROSECONDS
        yield (
            Health.FAILURE,
            f"the newest one that was used was signed {ahead:.0f} s from now: this clock was set back or is slow, and "
            "new ones are refused until it is right",
        )


def _metrics(_: LoadedPolicy, __: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.metrics_workers import set_too_late

    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        yield (
            Health.OK,
            "for one process; with several workers set PROMETHEUS_MULTIPROC_DIR to an empty folder before they start",
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield (
            Health.FAILURE,
            f"PROMETHEUS_MULTIPROC_DIR is {folder}, which cannot be written; make it, empty it at start",
        )
    elif set_too_late():
        yield Health.FAILURE, "PROMETHEUS_MULTIPROC_DIR was set after Python started; set it in the start script"
    else:
        yield Health.OK, f"for several workers, in {folder}"


def _baseline(loaded: LoadedPolicy, _: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.evidence.baseline import load
    from feedback_guard.policy.checks import reach

    path = loaded.policy.baseline.path
    if path is None:
        yield Health.WARNING, "none: the guard only observes; make one with `feedback-guard baseline build`"
        return
    baseline = load(Path(path), fingerprint=None, digest=loaded.policy.baseline.digest)
    yield Health.OK, f"{baseline.n_trusted} vetted contributions, {baseline.digest}"
    for note in reach(loaded.policy, baseline.counts, baseline.label_counts):
        yield Health.WARNING, note


def _model(loaded: LoadedPolicy, _: Clock) -> Iterator[tuple[Health, str]]:
    from feedback_guard.embedding.loading import computes_bfloat16
    from feedback_guard.engine import start_batcher
    from feedback_guard.evidence.baseline import load

    policy: Policy = loaded.policy
    batcher = start_batcher(policy.embedding)
    try:
        batcher.embed_now(["a text"])
        yield Health.OK, f"loads and embeds; {batcher.embedder.fingerprint}"
        if policy.embedding.precision is Precision.FULL and policy.embedding.may_be_bfloat16 and computes_bfloat16():
            yield (
                Health.OK,
                "this processor computes in bfloat16: `embedding.precision: bfloat16` would take a third of the time; "
                "it needs such processors everywhere, and a new baseline",
            )
        if policy.baseline.path is not None:
            load(Path(policy.baseline.path), fingerprint=batcher.embedder.fingerprint, digest=None)
            yield Health.OK, "is the one that the baseline was made with"
    finally:
        batcher.close()
