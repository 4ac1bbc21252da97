"""Chords: a task's result goes to the store as a part; whoever brings the last part sends the body."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ..application import Envelope
from ..errors import ChordFailed, KernelError, StoreUnavailable, TaskError
from ..outcome import Failure
from .canvas import Heir, Membership, heirs, unfold
from .meta import EXCEPTION_STATES, FAILURE, SUCCESS, exception_from, exception_record
from .storing import chord_store, patiently, send_calls, store_state

if TYPE_CHECKING:
    from .app import App
    from .results import ResultStore

log = logging.getLogger("worker_kernel.tasks")


@attrs.frozen(kw_only=True)
class ChordPart:
    """The result of one task of a chord's group."""

    group_id: str
    """The group."""
    index: int
    """The task's place in it; -1: unknown, after all others."""
    task_id: str
    """The task."""
    status: str
    """``SUCCESS``, ``FAILURE`` or ``REVOKED``."""
    result: object
    """As `meta` stores it, JSON-safe."""


@attrs.frozen(kw_only=True)
class JoinedChord:
    """All parts of a chord, and the right to send its body."""

    group_id: str
    """The group."""
    claim: str
    """Proves the right, which passes to somebody else if it is not used within a time that the store sets."""
    parts: tuple[ChordPart, ...]
    """In the order of the group."""
    shape: object = None
    """Celery's ``GroupResult.as_tuple()`` where its client wants nested lists; None: one value for each part."""


def return_part(
    app: App, envelope: Envelope, part: Membership, task_id: str, status: str, result: object
) -> Exception | None:
    """Bring a result to its chord; with the last one, send the body, or have it fail if any part has failed.

    Safe to repeat: a part counts once, and the body is sent once, unless a process dies in the act.

    Returns:
        The error, logged, at which this ended: the part has to be brought again.

    Raises:
        StoreUnavailable: the store did not serve for as long as `storing.PATIENCE`.
        UnsupportedOption: it keeps no chords.
    """
    store = chord_store(app)
    mine = ChordPart(group_id=part.group_id, index=part.index, task_id=task_id, status=status, result=result)
    joined = patiently(app, envelope, lambda: store.chord_part(mine))
    if joined is None:
        return None
    body = part.chord or {}
    failed = next((one for one in joined.parts if one.status in EXCEPTION_STATES), None)
    try:
        if failed is not None:
            raise _because_of(failed)
        family = {"parent_id": task_id, "root_id": str(envelope.headers.get("root_id") or envelope.id)}
        dispatch = unfold(body, family)
        error = send_calls(app, envelope, dispatch, _values(store, joined), "the body of a chord")
    except (ChordFailed, TaskError, KernelError, TypeError, ValueError) as exc:
        if isinstance(exc, StoreUnavailable):
            raise
        log.error("chord %s of %s[%s] failed: %s", part.group_id, envelope.task, envelope.id, exc)
        error = fail_signature(app, envelope, body, Failure.of(exc, with_traceback=False))
    if error is None:
        patiently(app, envelope, lambda: store.chord_sent(joined))
    return error


def fail_signature(app: App, envelope: Envelope, item: object, failure: Failure) -> Exception | None:
    """Store a failure for all that a signature would have led to, and send its errbacks; returns as `return_part`."""
    return pass_on(app, envelope, tuple(heirs(item)), FAILURE, exception_record(failure)) or _errbacks(
        app, envelope, item
    )


def pass_on(
    app: App, envelope: Envelope, left: tuple[Heir, ...], status: str, result: object, traceback: str | None = None
) -> Exception | None:
    """Let tasks that are never sent share a fate, and bring it to the chords that wait for them.

    Returns and raises as `return_part` does; what cannot be stored is an error too.
    """
    for heir in left:
        if heir.task_id is None:
            continue
        group = {} if heir.membership is None else {"group": heir.membership.group_id}
        fate = attrs.evolve(envelope, id=heir.task_id, headers=group)
        if not store_state(app, fate, status, result, traceback=traceback):
            return StoreUnavailable(f"the fate of {heir.task_id} could not be stored")
        if heir.membership is not None and heir.membership.chord is not None:
            error = return_part(app, envelope, heir.membership, heir.task_id, status, result)
            if error is not None:
                return error
    return None


def _because_of(part: ChordPart) -> ChordFailed:
    return ChordFailed(f"Dependency {part.task_id} raised {exception_from(part.result)!r}")


def _errbacks(app: App, envelope: Envelope, item: object) -> Exception | None:
    options = item.get("options") if isinstance(item, Mapping) else None
    if not isinstance(options, Mapping):
        return None
    task_id = options.get("task_id")
    family = {"parent_id": envelope.id, "root_id": str(envelope.headers.get("root_id") or envelope.id)}
    linked = options.get("link_error") or ()
    for errback in [linked] if isinstance(linked, Mapping) else linked:
        try:
            error = send_calls(app, envelope, unfold(errback, family), task_id, "an errback of a chord")
        except (TaskError, KernelError, TypeError, ValueError) as exc:
            log.error("an errback of chord body %s cannot be sent: %s", task_id, exc)
        else:
            if error is not None:
                return error
    return None


def _values(store: ResultStore, joined: JoinedChord) -> list[Any]:
    if joined.shape is None:
        return [part.result for part in joined.parts]
    known = {part.task_id: part.result for part in joined.parts}

    def value(node: Any) -> Any:
        (task_id, _), below = node  # another shape raises, and the chord fails with it
        if below is not None:
            return [value(one) for one in below]
        if task_id in known:
            return known[task_id]
        meta = store.get(str(task_id))
        if meta is None or meta["status"] != SUCCESS:
            raise ChordFailed(f"Dependency {task_id} has no result")
        return meta["result"]

    found: list[Any] = value(joined.shape)
    return found
