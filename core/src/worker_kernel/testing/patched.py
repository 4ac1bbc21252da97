"""Runs a module in a process that is patched first: ``python -m worker_kernel.testing.patched POOL MODULE ...``."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from ..patching import patch


def python_for(pool: str) -> list[str]:
    """Return the beginning of a command that runs a module, patched for ``pool``; an empty name needs no patch."""
    return [sys.executable, "-m", *(("worker_kernel.testing.patched", pool) if pool else ())]


def main(arguments: Sequence[str]) -> None:
    """Patch for the pool that comes first, and run the module that comes second with the rest.

    Raises:
        SystemExit: the pool has no patch, which is not what whoever calls this meant.
    """
    pool, module, *rest = arguments
    if not patch(pool):
        sys.exit(f"pool {pool} has no patch")
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
