"""The loop for blocking transports, for Windows and for patched processes: no hub."""

from __future__ import annotations

from worker_kernel import Drive, Hub


def synloop(drive: Drive, hub: Hub | None) -> None:
    """Run one connection generation by blocking in the transport, until ``drive.pending()`` is false.

    ``drive.turn()`` fires the timers, and ``drive.timeout()`` is no longer than until the next one. The drive is
    asked once more before the loop blocks, so that a stop decided in a turn does not cost one more wait. What a turn
    or the transport raises leaves the loop: the caller owns the connection. ``hub`` is not used: it is there because
    every loop is called with one.
    """
    while drive.pending():
        drive.turn()
        if drive.pending():
            drive.drain(drive.timeout())
