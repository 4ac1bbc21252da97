"""Storing what became of a task, patiently, and sending what its message asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..application import Envelope
from ..errors import BrokerUnavailable, LeaseLost
from .meta import Meta, record
from .replies import ReplyStore
from .results import ResultStore

if TYPE_CHECKING:
    from .app import App
    from .context import Outgoing

log = logging.getLogger("worker_kernel.tasks")

PATIENCE = 10.0
"""Seconds for which a store that does not serve is tried again before the worker is told that nothing was stored."""
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; doubled each time."""
LONGEST_PAUSE = 2.0
"""Seconds."""


def store_state(
    app: App,
    envelope: Envelope,
    status: str,
    result: object,
    *,
    traceback: str | None = None,
    children: Sequence[tuple[str, str | None]] = (),
    and_for: Iterable[str] = (),
) -> bool:
    """Store a state of the envelope's task, and return whether it is where it belongs (or none is wanted).

    A store that fails is tried again with back-off for `PATIENCE` seconds.

    Args:
        app: whose store and clock.
        envelope: the message.
        status: one of the states of `meta`.
        result: JSON-safe.
        traceback: formatted, or None.
        children: see `meta.record`.
        and_for: ids of further tasks that share its fate (the rest of its chain).

    Raises:
        LeaseLost: the message has passed into other hands; nothing was stored.
    """
    now = app.clock.wall()
    own = record(envelope.id, status, result, now=now, traceback=traceback, children=children, headers=envelope.headers)
    metas = [] if app.ignores_result(envelope) else [own]
    # Others may wait for these, whatever is said about this one.
    metas += [record(task_id, status, result, now=now, traceback=traceback) for task_id in and_for]
    return all(_store_patiently(app, meta, envelope) for meta in metas)


def write(store: ResultStore, meta: Meta, envelope: Envelope) -> None:
    """Write a state once: into the store, or to who sent the message. Raises what `ResultStore.store` raises."""
    if isinstance(store, ReplyStore):
        store.reply(meta, envelope)
    else:
        store.store(meta, fence=envelope.fence)


def _store_patiently(app: App, meta: Meta, envelope: Envelope) -> bool:
    deadline, pause = app.clock.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            store = app.result_store()
            if store is not None:
                write(store, meta, envelope)
        except LeaseLost:
            raise
        except Exception as exc:  # noqa: BLE001  (a plugin's store: whatever it raises, the slot must live on)
            if app.clock.monotonic() + pause > deadline:
                log.error("result of %s[%s] could not be stored, giving up: %s", envelope.task, envelope.id, exc)
                return False
            log.warning("result of %s[%s] could not be stored, trying again: %s", envelope.task, envelope.id, exc)
            app.clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return True


def send_all(app: App, messages: Iterable[Outgoing], envelope: Envelope, what: str) -> BrokerUnavailable | None:
    """Send messages in order; return the error, logged, at which that ended, or None."""
    try:
        for outgoing in messages:
            app.send(outgoing)
    except BrokerUnavailable as exc:
        log.error("%s of %s[%s] could not be sent: %s", what, envelope.task, envelope.id, exc)
        return exc
    return None
