"""The patch: eventlet's greenlets in place of threads, sockets that yield. To run before anything else is imported."""

from __future__ import annotations

import sys
import warnings
from typing import Any

NOTICE = "eventlet is in maintenance mode upstream, which advises against it for new projects: see -P gevent"


def load() -> Any:
    """Import eventlet without its warning, which is a plain `Warning`, and an error under ``-W error``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import eventlet
        import eventlet.hubs
        import eventlet.patcher
    return eventlet


def patch() -> None:
    """Patch the standard library, and say what upstream says of eventlet, in one line. Idempotent."""
    eventlet = load()
    if not eventlet.patcher.is_monkey_patched("thread"):
        # Not os: its read of a descriptor that is not to block would wait all the same.
        eventlet.monkey_patch(os=False)
        _name_the_main_thread()
        print(f"note: {NOTICE}", file=sys.stderr)


def _name_the_main_thread() -> None:
    """Let the thread that patches know itself again: eventlet gives it a new object, and signals ask for the old."""
    import threading

    if threading.main_thread().ident != threading.get_ident():
        threading._main_thread = threading.current_thread()  # type: ignore[attr-defined]  # noqa: SLF001  (as gevent)
