"""The patch: eventlet's greenlets in place of threads, sockets that yield. To run before anything else is imported."""

from __future__ import annotations

import sys
import warnings

NOTICE = "eventlet is in maintenance mode upstream, which advises against it for new projects: see -P gevent"


def patch() -> None:
    """Patch the standard library, and say what upstream says of eventlet, in one line. Idempotent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of at import is no DeprecationWarning, and an error under -W
        import eventlet
        import eventlet.patcher

    if not eventlet.patcher.is_monkey_patched("thread"):
        # Not os: there a read of a descriptor that has nothing would wait for it, though the descriptor is not to block.
        eventlet.monkey_patch(os=False)
        print(f"note: {NOTICE}", file=sys.stderr)
