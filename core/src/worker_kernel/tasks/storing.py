"""Storing what became of a task, patiently, and sending what its message asks for."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..application import Envelope
from ..errors import BrokerUnavailable, LeaseLost, StoreUnavailable, UnsupportedOption
from .canvas import Dispatch
from .context import Outgoing
from .message import compose
from .meta import Meta, record
from .replies import ReplyStore
from .results import ResultStore
from .signature import Call

if TYPE_CHECKING:
    from .app import App
    from .results import ResultStore

R = TypeVar("R")

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
    ignored: bool = False,
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
        ignored: whether the result is not wanted.

    Raises:
        LeaseLost: the message has passed into other hands; nothing was stored.
    """
    if ignored:
        return True
    now = app.clock.wall()
    meta = record(
        envelope.id, status, result, now=now, traceback=traceback, children=children, headers=envelope.headers
    )

    def store() -> None:
        where = app.result_store()
        if where is not None:
            write(where, meta, envelope)

    try:
        patiently(app, envelope, store)
    except StoreUnavailable:
        return False
    return True


def write(store: ResultStore, meta: Meta, envelope: Envelope) -> None:
    """Write a state once: into the store, or to who sent the message. Raises what `ResultStore.store` raises."""
    if isinstance(store, ReplyStore):
        store.reply(meta, envelope)
    else:
        store.store(meta, fence=envelope.fence)


def patiently(app: App, envelope: Envelope, action: Callable[[], R]) -> R:
    """Return what ``action`` returns, tried again with back-off for `PATIENCE` seconds.

    Raises:
        LeaseLost: the message has passed into other hands.
        StoreUnavailable: it went on failing, which is logged.
    """
    deadline, pause = app.clock.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            return action()
        except LeaseLost:
            raise
        except Exception as exc:
            if app.clock.monotonic() + pause > deadline:
                log.error("result of %s[%s] could not be stored, giving up: %s", envelope.task, envelope.id, exc)
                raise StoreUnavailable(f"the result of {envelope.id} could not be stored: {exc}") from exc
            log.warning("result of %s[%s] could not be stored, trying again: %s", envelope.task, envelope.id, exc)
            app.clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def send_calls(app: App, envelope: Envelope, dispatch: Dispatch, argument: object, what: str) -> Exception | None:
    """Send a dispatch, given ``argument``; see `send_all`.

    Raises:
        TypeError, ValueError: a call cannot be serialised, or an option is out of range.
        UnsupportedOption: it begins a chord, and the store keeps none.
        StoreUnavailable: the store does not take the size of a chord.
    """
    messages = [composed(app, call, envelope) for call in dispatch.given(argument)]
    begin_chords(app, envelope, dispatch)
    return send_all(app, messages, envelope, what)


def begin_chords(app: App, envelope: Envelope, dispatch: Dispatch) -> None:
    """Tell the store how many results the chords wait for that begin with ``dispatch``. Raises as `send_calls`."""
    for group_id, size in dispatch.sizes.items():
        patiently(app, envelope, functools.partial(chord_store(app).chord_size, group_id, size))


def chord_store(app: App) -> ResultStore:
    """Return the result store, if it keeps chords.

    Raises:
        UnsupportedOption: it does not, or there is none.
    """
    store = app.result_store()
    if store is None or not getattr(store, "keeps_chords", False):
        what = "no results are kept" if store is None else f"{type(store).__name__} does not"
        raise UnsupportedOption(f"a chord needs a result store that counts its parts, such as redis://: {what}")
    return store


def composed(app: App, call: Call, envelope: Envelope) -> Outgoing:
    """Return the message of a call that ``envelope`` asked for; its result is for who sent that.

    Raises:
        TypeError, ValueError: its arguments cannot be serialised, or an option is out of range.
    """
    asker = envelope.properties.get("reply_to")
    options = {"reply_to": asker, **call.options} if isinstance(asker, str) else call.options
    invocation = app.plan(call.task, call.args, call.kwargs, **options)
    return Outgoing(message=compose(invocation), queue=invocation.queue)


def send_all(app: App, messages: Iterable[Outgoing], envelope: Envelope, what: str) -> BrokerUnavailable | None:
    """Send messages in order; return the error, logged, at which that ended, or None."""
    try:
        for outgoing in messages:
            app.send(outgoing)
    except BrokerUnavailable as exc:
        log.error("%s of %s[%s] could not be sent: %s", what, envelope.task, envelope.id, exc)
        return exc
    return None
