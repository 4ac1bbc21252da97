"""What the tasks of all contenders do. Imported in the environment of every peer: the standard library alone."""

from __future__ import annotations

import asyncio
import time

from bench.recording import now, record

IO_SECONDS = 0.05
CPU_SECONDS = 0.005


def noop() -> None:
    """Nothing."""
    record(now())


def io() -> None:
    """Wait as for a slow server; patched by green pools."""
    begun = now()
    time.sleep(IO_SECONDS)
    record(begun)


async def io_async() -> None:
    """The same for asyncio."""
    begun = now()
    await asyncio.sleep(IO_SECONDS)
    record(begun)


def cpu() -> None:
    """Use 5 ms of this thread's CPU time: as much on every interpreter, whatever else the machine does."""
    begun = now()
    until = time.thread_time_ns() + int(CPU_SECONDS * 1e9)
    while time.thread_time_ns() < until:
        sum(range(200))
    record(begun)


def stamp(sent: int) -> None:
    """Note how long it took from `sent`, the sender's monotonic nanoseconds, until now."""
    record(sent)
