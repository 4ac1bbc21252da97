"""The kernel's own step ``state``: tells how the worker is in a file, which ``kernel probe`` judges.

The file is written by a thread of its own, never by the loop: a loop that hangs could not say so. The loop only notes
when it turns (`Status.tick`), by a timer. So a file that is fresh with an old ``loop_tick`` is a hanging loop, and a
file that is old is a process that is gone, stopped, or holds the interpreter's lock; both are not live.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .bootsteps import Step, StepContext
from .errors import KernelBug, UsageError
from .hub import TimerHandle, Timers
from .probe import SCHEMA
from .status import Snapshot, WorkerState

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("worker_kernel.state")

INTERVAL = 5.0
"""Seconds after which the file is written even if nothing has changed."""
TICK = 2.0
"""Seconds between two notes of the loop that it turns."""


class StateStep(Step):
    """Writes the state file on each change and every `INTERVAL` seconds."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._timers: Timers | None = None
        self._handle: TimerHandle | None = None
        self._path = Path()
        self._changed = threading.Event()
        self._writing = threading.Lock()
        self._stopped = False
        self._complained = False
        self._thread: threading.Thread | None = None

    def enabled(self, worker: Worker) -> bool:
        """Only with --state-file (worker_state_file)."""
        return worker.settings.get_str("worker_state_file") is not None

    def create(self, ctx: StepContext) -> None:
        """Learn where to write and by what to tick."""
        self._worker = ctx.worker
        self._path = Path(ctx.worker.settings.get_str("worker_state_file") or "").absolute()
        self._timers = ctx.find("timer", Timers)  # type: ignore[type-abstract]  # a protocol

    def start(self) -> None:
        """Write the file for the first time, which must succeed, and begin to write.

        Raises:
            UsageError: it cannot be written, or what is there is no file.
        """
        try:
            self._write()
        except OSError as exc:
            raise UsageError(
                f"the state file {self._path} cannot be written: {exc.strerror or exc}\n"
                "name another place with --state-file (worker_state_file)"
            ) from exc
        worker = self.worker
        if self._timers is not None:
            self._handle = self._timers.call_repeatedly(TICK, worker.status.tick)
        worker.status.watch(self._on_change)
        thread = threading.Thread(target=self._run, name="worker-state", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has none left; a step that did not start is not stopped
            self.stop()
            raise
        self._thread = thread

    def stop(self) -> None:
        """Write that the worker is dead, and end the thread."""
        worker = self.worker
        if self._handle is not None:
            self._handle.cancel()
        request = worker.stop_request
        worker.status.enter(WorkerState.DEAD, "it failed: see its log" if request is None else request.reason)
        worker.status.unwatch(self._on_change)
        self._stopped = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def info(self) -> Mapping[str, object]:
        """Return where the file is."""
        return {"path": str(self._path)}

    @property
    def worker(self) -> Worker:
        """The worker, once created."""
        if self._worker is None:
            raise KernelBug("the step 'state' is used before it was created")
        return self._worker

    def _run(self) -> None:
        while not self._stopped:
            self._changed.wait(INTERVAL)
            self._changed.clear()
            if not self._stopped:
                self._try_to_write()

    def _on_change(self, snapshot: Snapshot) -> None:
        if snapshot.state is WorkerState.DEAD:
            self._try_to_write()  # the process may end before the thread gets to it
        else:
            self._changed.set()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as exc:
            if not self._complained:
                log.error("the state file %s cannot be written, so that probes will fail: %s", self._path, exc)
            self._complained = True
        else:
            self._complained = False

    def _write(self) -> None:
        """Put a new file in the place of the old one: a reader sees one or the other, whole."""
        worker = self.worker
        with self._writing:
            snapshot = worker.status.snapshot()
            dead = snapshot.state is WorkerState.DEAD
            document = {
                "schema": SCHEMA,
                "node": worker.node_name,
                "pid": os.getpid(),
                "nonce": worker.nonce,
                "state": str(snapshot.state),
                "ready": snapshot.ready,
                "reason": snapshot.reason,
                "loop_tick": snapshot.loop_tick,
                "written": worker.clock.wall(),
                "control_socket": None if dead else snapshot.control_socket,
            }
            if self._path.exists() and not self._path.is_file():
                # In the place of a device such as /dev/null, our file would take that from the whole machine.
                raise OSError("what is there is no file")
            draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
            draft.replace(self._path)
