"""One contender, started and sent to: a mode of a peer on one broker, with its processes and its records."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import attrs

from bench.peers import BROKER, INSIDE, QUEUES, SLOTS, Mode, Peer, Setup
from bench.processes import Processes
from bench.recording import FOLDER, Reader

ROOT = Path(__file__).parents[1]
SHARED_MEMORY = Path("/dev/shm")
LOOK = 0.02  # seconds between two looks at the records, which tell the times: it need not be soon, and costs CPU
FILLING = 600.0  # seconds that a client may take


class Failed(Exception):
    """A contender that did not do what it was measured for; the message says what it said last."""


@attrs.frozen(kw_only=True)
class Contender:
    """Who takes part in a case."""

    peer: Peer
    mode: Mode
    programs: Path
    """The folder of the programs of its environment."""

    @property
    def name(self) -> str:
        return f"{self.peer.name} {self.mode.name}"


class Bout:
    """One measurement of one contender; a context that leaves nothing behind."""

    def __init__(self, contender: Contender, url: str, slots: int, queues: tuple[str, ...] = ("bench",)) -> None:
        self.contender = contender
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        self.reader = Reader(self.folder)
        self.setup = Setup(bin=str(contender.programs), slots=slots, broker=url, queues=queues)
        self.processes: Processes | None = None
        self._clients: list[subprocess.Popen[bytes]] = []
        self._log = self.folder / "log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KERNEL_", "PYTHON"))},
            **contender.mode.environment,
            "PYTHONPATH": str(ROOT),
            INSIDE: contender.peer.name,
            BROKER: url,
            QUEUES: ",".join(queues),
            SLOTS: str(slots),
            FOLDER: str(self.folder),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.reader.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sending(self, task: str, count: int, rate: float = 0) -> subprocess.Popen[bytes]:
        """A process of the contender's own client that sends so many tasks, `rate` a second or as fast as it can."""
        command = [str(self.contender.programs / "python"), "-m", "bench.sending", self.contender.peer.name, task]
        self._clients.append(self._popen([*command, str(count), str(rate)]))
        return self._clients[-1]

    def send(self, task: str, count: int) -> None:
        """Have its client send so many tasks, and return when it has.

        Raises:
            Failed: The client has not.
        """
        self.sent(self.sending(task, count))

    def sent(self, client: subprocess.Popen[bytes]) -> None:
        """Wait until such a process has sent all."""
        try:
            code = client.wait(FILLING)
        except subprocess.TimeoutExpired:
            raise Failed(f"its client took longer than {FILLING:.0f} s") from None
        if code:
            raise Failed(f"its client ended with {code}: {self._last_words()}")

    def start(self) -> None:
        """Start the worker; returns at once."""
        self.processes = Processes(
            [self._popen(self.contender.mode.command(self.setup)) for _ in range(self.contender.mode.copies)]
        )

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self, until: Callable[[], bool], patience: float) -> bool:
        """Look at the records until this holds; False if it does not within so many seconds.

        Raises:
            Failed: The worker has ended meanwhile.
        """
        deadline = time.monotonic() + patience
        while not until():
            if time.monotonic() > deadline:
                return False
            if self.processes is not None and (code := self.processes.died()) is not None:
                raise Failed(f"its worker ended with {code}: {self._last_words()}")
            time.sleep(LOOK)
        return True

    def wait_for(self, count: int, patience: float) -> bool:
        """`wait` until so many tasks have ended."""
        return self.wait(lambda: self.reader.look() >= count, patience)

    def must_reach(self, count: int, patience: float) -> None:
        """`wait_for`, and it has to be.

        Raises:
            Failed: It was not.
        """
        if not self.wait_for(count, patience):
            done = len(self.reader.records)
            raise Failed(f"{done} of {count} tasks had ended after {patience:.0f} s: {self._last_words()}")

    def stop(self) -> None:
        """End the worker and what its client does still."""
        for client in self._clients:
            if client.poll() is None:
                client.kill()
                client.wait()
        if self.processes is not None:
            self.processes.kill()
            self.processes = None

    def running(self) -> Processes:
        assert self.processes is not None
        return self.processes

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:200] if said else "it said nothing"
