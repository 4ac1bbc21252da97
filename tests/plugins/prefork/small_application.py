"""An application whose jobs do one small thing, and travel as a line of JSON and a body."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from worker_kernel import Job, Outcome
from worker_kernel.testing.fake_application import FakeApplication
from worker_kernel.testing.fake_job import outcome_of


def _hold(argument: str) -> object:
    """Run until there is the file of this name; there is another one as soon as it runs."""
    path = Path(argument)
    path.with_suffix(".runs").write_text(str(os.getpid()))
    while not path.exists():  # one of the rare polls in a task: what it waits for is another process
        time.sleep(0.005)
    return os.getpid()


def _sleep(argument: str) -> object:
    time.sleep(float(argument))
    return os.getpid()


def _die(argument: str) -> object:
    os.kill(os.getpid(), int(argument))
    time.sleep(60)
    return None


def _look(argument: str) -> object:
    """Tell what this process has of the one that it comes from; ``argument`` is part of the name of a file of that."""
    descriptors = list(Path("/proc/self/fd").iterdir())
    targets = [str(descriptor.readlink()) for descriptor in descriptors if descriptor.is_symlink()]
    return json.dumps(
        {
            "forked": hasattr(sys, MARK),
            "zygote": os.getppid(),
            "group": os.getpgid(0) == os.getpid(),
            "inherited": [target for target in targets if argument in target],
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "default": signal.getsignal(signal.SIGHUP) is signal.SIG_DFL,
            "collects": gc.isenabled(),
            "random": random.random(),
        }
    )


MARK = "only_in_the_worker"
"""An attribute of `sys` that a worker gives itself after all imports."""

TASKS: Mapping[str, Callable[[str], object]] = {
    "pid": lambda _: os.getpid(),
    "hold": _hold,
    "sleep": _sleep,
    "die": _die,
    "noop": lambda _: None,
    "look": _look,
    "parent": lambda _: os.getppid(),
}


class SmallJob(Job):
    """Runs one of `TASKS`; its value is the outcome's ``result``."""

    is_async = False
    soft_time_limit = None

    def __init__(
        self, job_id: str, task: str = "noop", argument: str = "", *, body: bytes = b"", time_limit: float | None = None
    ) -> None:
        self.id, self.task, self.argument, self.body = job_id, task, argument, body
        self.time_limit = time_limit
        self.is_report = False

    def prepare(self) -> None:
        """There is nothing to decode."""

    def call(self) -> object:
        """Run the task."""
        value = TASKS[self.task](self.argument)
        return value if not self.body else (value, len(self.body))

    def finish(self, ending: object) -> Outcome:
        """Say how it ended."""
        return outcome_of(self.id, ending)

    def to_frame(self) -> bytes:
        """Return a line of JSON, and the body."""
        return json.dumps([self.id, self.task, self.argument, self.time_limit]).encode() + b"\n" + self.body


class SmallApplication(FakeApplication):
    """Makes `SmallJob`s."""

    def __init__(self) -> None:
        super().__init__()
        self.origin = f"{__name__}:app"

    def job_from_frame(self, frame: bytes) -> Job:
        """Return the job that wrote the frame."""
        line, _, body = frame.partition(b"\n")
        job_id, task, argument, time_limit = json.loads(line)
        return SmallJob(job_id, task, argument, body=body, time_limit=time_limit)


app = SmallApplication()
