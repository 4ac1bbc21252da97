"""The command line's entry: ``kernel`` and ``python -m worker_kernel``.

Imports nothing but the standard library until the patch phase is over; for ``kernel probe`` nothing else at all.
"""

from __future__ import annotations

import gc
import os
import sys

from . import probe


def main() -> None:
    """Run the command line of this process and exit with its code."""
    arguments = sys.argv[1:]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us: what is printed goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (for good)
    if arguments[:1] == ["probe"] and "--help" not in arguments:
        sys.exit(probe.main(arguments[1:]))
    from pathlib import Path

    from .leaving import leave
    from .patching import EXECUTED_AGAIN, calls_worker, patch_for

    if calls_worker(arguments):
        gc.disable()  # until all is imported, next to nothing of which is ever garbage: see `Worker`

    again = os.environ.pop(EXECUTED_AGAIN, "")  # what this process starts in its turn may do the same
    failure: Exception | None = None
    patched = ""
    try:
        patched = patch_for(arguments, os.environ, Path(), again=again)
    except Exception as exc:  # noqa: BLE001  (reported below, when what reports errors may be imported)
        failure = exc
    from .cli.main import run

    leave(run(arguments, patched=patched, again=bool(again), failure=failure))


if __name__ == "__main__":
    main()
