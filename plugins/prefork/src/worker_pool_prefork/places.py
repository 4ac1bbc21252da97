"""What can be seen of a child from outside: its name in the process list, and where its task's code is."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from setproctitle import setproctitle

_FRAMES = 8
_OURS = ("/worker_pool_prefork/", "/worker_kernel/")


def name_process(node: str, slots: Sequence[int], state: str) -> None:
    """Name this process: ``kernel: kernel@host slot 3: idle``, or what it runs; no slots: a process that has none."""
    where = f" slot {slots[0]}" if len(slots) == 1 else f" slots {slots[0]}-{slots[-1]}" if slots else ""
    setproctitle(f"kernel: {node}{where}: {state}")


def describe_place(frame: FrameType) -> str:
    """Return the innermost frames from ``frame`` outwards, our own left out where there are others; one a line."""
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=4 * _FRAMES, lookup_lines=False)
    theirs = [entry for entry in stack if not any(part in entry.filename for part in _OURS)] or list(stack)
    return "\n".join(f"{Path(entry.filename).name}:{entry.lineno} in {entry.name}" for entry in theirs[:_FRAMES])
