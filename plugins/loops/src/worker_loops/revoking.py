"""Revoking: tasks that are not to run here, now or later."""

from __future__ import annotations

from collections.abc import Collection

from worker_kernel import CancelHow, CancelReply, Unsupported

from .desk import Desk
from .request import Request, State


def revoke(desk: Desk, ids: Collection[str], *, terminate: bool) -> dict[str, str]:
    """Let tasks not run here, now or later; say for each known one what has become of it. On the loop's thread.

    What is held or waits is refused at once. What the pool has not begun is taken back. What runs is ended only with
    ``terminate``, and then by any means that the pool has: its outcome is *cancelled*.
    """
    desk.revoked.add(ids)
    found = [request for request in desk.requests() if request.envelope.id in ids]
    return {request.envelope.id: _revoke(desk, request, terminate=terminate) for request in found}


def _revoke(desk: Desk, request: Request, *, terminate: bool) -> str:
    if request.state is State.REPORTING or (request.job is not None and request.job.is_report):
        return "has ended"
    if desk.refuse_revoked(request):
        return "dropped"
    try:
        reply = desk.cancel(request, CancelHow.KILL if terminate else CancelHow.WAITING)
    except Unsupported as exc:
        return f"runs on: {exc}"
    if reply is CancelReply.UNKNOWN:
        return "runs on" if not terminate else "has ended"
    return "dropped" if reply is CancelReply.CANCELLED else "is being ended"
