"""The patch: gevent's greenlets in place of threads, sockets that yield. To run before anything else is imported."""

from __future__ import annotations


def patch() -> None:
    """Patch the standard library. Idempotent."""
    from gevent import monkey

    if not monkey.is_module_patched("threading"):
        monkey.patch_all()
