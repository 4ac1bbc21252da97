"""A process that a task forked, and that comes back from the task, ends before it can act as the worker."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import NoReturn


def end_fork(task: str, exc: BaseException | None) -> NoReturn:
    """End this process, a fork of the one that runs ``task``, as Python ends a script: a task's own child.

    It holds copies of the worker's descriptors: were it to go on, it would store a second result, read jobs that
    are meant for its parent and answer for it. Nothing is flushed but the standard streams, and nothing is closed.

    Args:
        task: the task's name, for the message.
        exc: what the task raised in the fork; None if it returned.
    """
    code = 0
    with contextlib.suppress(BaseException):
        if isinstance(exc, SystemExit):
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        elif exc is not None:
            code = 1
            traceback.print_exception(exc)
        text = f"process {os.getpid()}, forked by task {task}, came back from it: it ends with exit code {code}\n"
        os.write(2, text.encode(errors="backslashreplace"))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)
