"""Tasks that end badly: real code that takes its stack, or its whole process, with it. All can be pickled by name."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal

from .fake_job import FakeJob


def recurses(job: FakeJob) -> object:
    """Call itself for ever."""
    return recurses(job)


def exits(job: FakeJob) -> None:
    """End the process at once, with exit code 3."""
    os._exit(3)


def kills_itself(job: FakeJob) -> None:
    """Send SIGKILL to the process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(job: FakeJob) -> None:
    """Read from address 0; without a core dump, and without a traceback on stderr."""
    import resource  # not on every platform

    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)
