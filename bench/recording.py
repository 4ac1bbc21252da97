"""How completions are counted: each process writes times into a file mapped into its memory, and the bench reads them.

The same for every contender, and cheap: no system call, no lock, nothing of the broker's. A record is two numbers, when
a task began (or was sent) and when it ended, in nanoseconds of the machine's monotonic clock. Each process has a file
of its own, and each task takes the next free place in it, so that threads do not meet; a forked child opens its own.

This module is imported in the environment of every peer: it needs nothing but the standard library.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import time
from pathlib import Path

FOLDER = "BENCH_RECORDS"  # the environment variable that names the folder of the files
RECORD = struct.Struct("@qq")  # native: each number is written at once, the end after the begin
CHUNK = 256 * RECORD.size  # bytes that are looked at together
CAPACITY = 2_000_000  # records of one process; the file is sparse, so that unused ones cost nothing
SUFFIX = ".records"

now = time.monotonic_ns


class Recorder:
    """Writes the records of one process; each call of `record` is safe beside those of other threads."""

    def __init__(self, folder: Path, capacity: int = CAPACITY) -> None:
        path = folder / f"{os.getpid()}-{now()}{SUFFIX}"
        with path.open("w+b") as file:
            file.truncate(capacity * RECORD.size)
            self._memory = mmap.mmap(file.fileno(), capacity * RECORD.size)
        self._places = itertools.count(0, RECORD.size)

    def record(self, begun: int) -> None:
        """Note that what began at `begun` (nanoseconds) has ended now.

        Raises:
            struct.error: The file is full.
        """
        RECORD.pack_into(self._memory, next(self._places), begun, now())


_recorder: Recorder | None = None


def record(begun: int) -> None:
    """`Recorder.record` of this process, in the folder that the bench has named in the environment."""
    global _recorder  # noqa: PLW0603 - a task function has nothing else to hold on to
    recorder = _recorder
    if recorder is None:
        recorder = _recorder = Recorder(Path(os.environ[FOLDER]))
    recorder.record(begun)


def _forget() -> None:
    global _recorder  # noqa: PLW0603
    _recorder = None


os.register_at_fork(after_in_child=_forget)


class Reader:
    """Reads the records of all processes as they come; `look` costs what is new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[tuple[int, int]] = []
        """Begun and ended, in nanoseconds; of each process in the order in which tasks took their places."""
        self._files: dict[Path, tuple[mmap.mmap, int]] = {}

    def look(self) -> int:
        """Read what is new, and return how many records there are in all."""
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path not in self._files and path.stat().st_size:
                with path.open("rb") as file:
                    self._files[path] = (mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 0)
        for path, (memory, place) in self._files.items():
            self._files[path] = (memory, self._read(memory, place))
        return len(self.records)

    def _read(self, memory: mmap.mmap, place: int) -> int:
        while chunk := memory[place : place + CHUNK]:
            for record in RECORD.iter_unpack(chunk):
                if not all(record):  # what another process is writing just now is left for the next look
                    return place
                self.records.append(record)
                place += RECORD.size
        return place

    def close(self) -> None:
        """Let go of the files."""
        for memory, _ in self._files.values():
            memory.close()
        self._files.clear()
