"""The loop for asynchronous transports: everything happens on the hub."""

from __future__ import annotations

from worker_kernel import Drive, Hub


def asynloop(drive: Drive, hub: Hub) -> None:
    """Run one connection generation on ``hub``, until ``drive.pending()`` is false.

    Timers and the transport are driven by ``hub.run_once``. The drive is asked once more before the loop blocks, so
    that what a turn decided, a stop above all, does not wait for the next event. What a turn or the hub raises, a
    connection's error above all, leaves the loop: the caller owns the connection.
    """
    while drive.pending():
        drive.turn()
        if drive.pending():
            hub.run_once(timeout=drive.timeout())
