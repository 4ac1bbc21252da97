"""How the process ends once its command has: also where the application left threads behind that do not end.

Imported before anything is patched: the thread and the lock are the operating system's.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from _thread import LockType, allocate_lock, start_new_thread
from contextlib import suppress
from typing import NoReturn

GRACE = 2.0
"""Seconds that threads of the application have to end in."""


def leave(code: int) -> NoReturn:
    """End the process with ``code``.

    Python waits for every thread that is no daemon, for ever. Here such threads have `GRACE` seconds; then they are
    named on stderr, and the process ends without them, and without its exit handlers.
    """
    main = threading.main_thread()
    left = [thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon]
    if left:
        joined = allocate_lock()
        joined.acquire()
        atexit.register(joined.release)  # the last to be registered is the first to be called: no thread is left then
        start_new_thread(_watch, (joined, code, left))
    sys.exit(code)


def _watch(joined: LockType, code: int, left: list[str]) -> None:
    if joined.acquire(timeout=GRACE):
        return
    with suppress(OSError, ValueError):  # a closed stream, a pipe that nobody reads
        text = f"warning: the process ends without threads that it was left with: {', '.join(left)}\n"
        os.write(2, text.encode(errors="backslashreplace"))
        sys.stdout.flush()
    os._exit(code)
