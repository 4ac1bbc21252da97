"""The kernel's own step ``control``: makes the worker's commands available on a local socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..bootsteps import Step, StepContext
from ..errors import KernelBug, UsageError
from ..status import Snapshot, WorkerState
from . import place
from .server import ControlServer

if TYPE_CHECKING:
    from ..worker import Worker

log = logging.getLogger("worker_kernel.control")


class ControlStep(Step):
    """Listens from before the worker consumes until after its last task has ended.

    A socket at a place that nobody named is a convenience: where it cannot be made, one line says so and the worker
    goes on without. A place that was named must do.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._server: ControlServer | None = None

    def enabled(self, worker: Worker) -> bool:
        """Not on Windows, and not with worker_control_socket = off."""
        off = worker.settings.get_str("worker_control_socket") == "off"
        return not (off or worker.platform.windows) and hasattr(socket, "AF_UNIX")

    def create(self, ctx: StepContext) -> None:
        """Learn whom to control."""
        self._worker = ctx.worker

    def start(self) -> None:
        """Begin to listen.

        Raises:
            UsageError: the socket cannot be made at the place that the settings name.
        """
        worker = self._worker
        if worker is None:
            raise KernelBug("the step 'control' is started before it was created")
        named = worker.settings.get_str("worker_control_socket")
        try:
            where = Path(named).absolute() if named else self._usual_place(worker)
            server = ControlServer(where, worker.node_name, worker.commands.execute)
            server.start()
        except OSError as exc:
            why = f"the control socket cannot be made{f' at {named}' if named else ''}: {exc.strerror or exc}"
            if named:
                raise UsageError(f"{why}\nname another place with worker_control_socket, or off") from exc
            log.warning("%s; the worker goes on without", why)
            return
        self._server = server
        worker.status.set_control_socket(str(server.path))
        worker.status.watch(self._on_change)

    def _usual_place(self, worker: Worker) -> Path:
        where = place.folder()
        place.make_private(where)
        return place.path_for(worker.node_name, os.getpid(), where)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None and self._worker is not None:
            self._worker.status.unwatch(self._on_change)
            self._worker.status.set_control_socket(None)
            self._server.stop()
            self._server = None

    def info(self) -> Mapping[str, object]:
        """Return where the socket is."""
        return {"socket": None if self._server is None else str(self._server.path)}

    def _on_change(self, snapshot: Snapshot) -> None:
        if snapshot.state is WorkerState.DEAD and self._server is not None:
            self._server.path.unlink(missing_ok=True)  # the process may end without `stop`
