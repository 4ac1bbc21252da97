"""How the process ends once its command has: also where the application left threads behind that do not end.

Imported before anything is patched: the thread and the lock are the operating system's.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import NoReturn

GRACE = 2.0
"""Seconds that threads of the application have to end in."""
_SYSTEMS = SimpleNamespace(lock=_thread.allocate_lock, start=_thread.start_new_thread)
"""The operating system's, as they are before a patch; not names of the module, which a patch would miss there."""


def leave(code: int) -> NoReturn:
    """End the process with ``code``.

    Python waits for every thread that is no daemon, for ever. Here such threads have `GRACE` seconds; then they are
    named on stderr, and the process ends without them, and without its exit handlers.
    """
    main = threading.main_thread()
    left = [thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon]
    if left:
        joined = _SYSTEMS.lock()
        joined.acquire()
        atexit.register(joined.release)  # the last to be registered is the first to be called: no thread is left then
        _SYSTEMS.start(_watch, (joined, code, left))
    sys.exit(code)


def _watch(joined: _thread.LockType, code: int, left: list[str]) -> None:
    if joined.acquire(timeout=GRACE):
        return
    with suppress(OSError, ValueError):  # a closed stream, a pipe that nobody reads
        text = f"warning: the process ends without threads that it was left with: {', '.join(left)}\n"
        os.write(2, text.encode(errors="backslashreplace"))
        sys.stdout.flush()
    os._exit(code)
