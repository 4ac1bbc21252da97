"""The page that a child and the worker share: what the child runs, what it has finished, and what is wanted of it.

It outlives the child, which is why it is there: whatever ended the child, the worker reads from it which job had
started, how jobs before it ended that nobody was told of yet, and where the code was when last seen. And the worker
writes into it which job a signal is meant for, so that a signal that comes late hits nobody else.

Each field has one writer, and is written in one piece: nothing is locked, so nothing can stay locked.
"""

from __future__ import annotations

import enum
import mmap
import os
import struct

_U64 = struct.Struct("=Q")
_F64 = struct.Struct("=d")
_U32 = struct.Struct("=I")
_SOFT_AND_KILL = struct.Struct("=QdQ")
_CURRENT, _STARTED = 0, 8  # the child's
_SOFT_FOR, _SOFT_LIMIT, _KILL_FOR, _KILL_LIMIT, _KILL_REASON = 16, 24, 32, 40, 48  # the worker's
_RAISED = 56  # the child's: the last job in which a signal's exception was raised
_JOURNAL_LENGTH, _PLACE_LENGTH, _PLACE_OF = 64, 68, 72  # the child's
_PLACE, _PLACE_SIZE = 128, 4096 - 128
_JOURNAL = 4096
JOURNAL_SIZE = 60 * 1024
"""Bytes of news that a child can gather before it has to tell."""
FLUSH_AT = 4800
"""Bytes of news after which the worker is told, though more jobs wait: some sixty ends, so that it can send the next
jobs before there are none left."""
_SIZE = _JOURNAL + JOURNAL_SIZE


class KillReason(enum.IntEnum):
    """Why a job is ended; the words of `JobKilled`."""

    TIME_LIMIT = 1
    CANCEL = 2
    STOP = 3

    @property
    def word(self) -> str:
        """The reason as `JobKilled` has it."""
        return self.name.lower()


def make_page_file() -> int:
    """Return a descriptor of memory for a page; whoever has it can open the page."""
    fd = os.memfd_create("worker-child") if hasattr(os, "memfd_create") else _temporary_file()
    os.ftruncate(fd, _SIZE)
    return fd


def _temporary_file() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:  # unnamed, and gone with its last descriptor
        return os.dup(file.fileno())


class Page:
    """A view of the page. Fields of the child are written by it alone, the others by the worker alone."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _SIZE)
        self._journal_length = 0

    def close(self) -> None:
        """Give the view up. Idempotent."""
        self._map.close()

    # -- what runs

    @property
    def current(self) -> int:
        """The number of the job that has started and not ended; 0: none."""
        return int(_U64.unpack_from(self._map, _CURRENT)[0])

    @property
    def started(self) -> float:
        """When `current` started, in the system's monotonic time."""
        return float(_F64.unpack_from(self._map, _STARTED)[0])

    def begin(self, number: int, started: float) -> None:
        """The job ``number`` starts."""
        _F64.pack_into(self._map, _STARTED, started)
        _U64.pack_into(self._map, _CURRENT, number)

    # -- the journal of what has ended, or, with an inner pool, started

    def note(self, news: bytes) -> int:
        """Write ``news`` into the journal. Returns its length now.

        Raises:
            ValueError: the journal is full; take it first.
        """
        start = self._journal_length
        length = len(news) + 1
        if start + length > JOURNAL_SIZE:
            raise ValueError("the journal is full")
        self._map[_JOURNAL + start : _JOURNAL + start + length] = news + b","
        self._journal_length = start + length
        _U32.pack_into(self._map, _JOURNAL_LENGTH, self._journal_length)
        return self._journal_length

    def end(self, news: bytes) -> int:
        """The current job has ended, and ``news`` says how. Returns, and raises, what `note` does."""
        length = self.note(news)
        _U64.pack_into(self._map, _CURRENT, 0)
        return length

    def end_told(self) -> None:
        """The current job has ended, and the worker was told otherwise than by the journal."""
        _U64.pack_into(self._map, _CURRENT, 0)

    @property
    def journal(self) -> bytes:
        """What has been written and not been taken, as the items of a JSON list."""
        length = int(_U32.unpack_from(self._map, _JOURNAL_LENGTH)[0])
        return bytes(self._map[_JOURNAL : _JOURNAL + max(0, length - 1)])

    def clear_journal(self) -> None:
        """The journal has been told."""
        self._journal_length = 0
        _U32.pack_into(self._map, _JOURNAL_LENGTH, 0)

    # -- whom signals are meant for

    def ask_soft(self, number: int, limit: float) -> None:
        """The next signal means: raise the soft limit in this job."""
        _F64.pack_into(self._map, _SOFT_LIMIT, limit)
        _U64.pack_into(self._map, _SOFT_FOR, number)

    def ask_kill(self, number: int, reason: KillReason, limit: float) -> None:
        """The next signal means: end this job."""
        _F64.pack_into(self._map, _KILL_LIMIT, limit)
        _U64.pack_into(self._map, _KILL_REASON, reason)
        _U64.pack_into(self._map, _KILL_FOR, number)

    @property
    def signalled(self) -> tuple[int, int]:
        """The jobs that the two kinds of signals are meant for; 0: none."""
        soft, _, kill = _SOFT_AND_KILL.unpack_from(self._map, _SOFT_FOR)
        return soft, kill

    @property
    def soft_for(self) -> tuple[int, float]:
        """The job that the soft limit is meant for, and the limit in seconds."""
        return int(_U64.unpack_from(self._map, _SOFT_FOR)[0]), float(_F64.unpack_from(self._map, _SOFT_LIMIT)[0])

    @property
    def kill_for(self) -> tuple[int, KillReason, float]:
        """The job that is to be ended, why, and the limit in seconds (0: none)."""
        reason = int(_U64.unpack_from(self._map, _KILL_REASON)[0])
        return (
            int(_U64.unpack_from(self._map, _KILL_FOR)[0]),
            KillReason(reason or KillReason.CANCEL),
            float(_F64.unpack_from(self._map, _KILL_LIMIT)[0]),
        )

    def mark_raised(self, number: int) -> None:
        """What was asked for has been raised in this job."""
        _U64.pack_into(self._map, _RAISED, number)

    @property
    def raised(self) -> int:
        """The last job in which something was raised on demand; 0: none."""
        return int(_U64.unpack_from(self._map, _RAISED)[0])

    # -- where the code was

    @property
    def place(self) -> str:
        """The frames of the current job when they were last looked at; empty: they were not."""
        if not self.current or _U64.unpack_from(self._map, _PLACE_OF)[0] != self.current:
            return ""
        length = int(_U32.unpack_from(self._map, _PLACE_LENGTH)[0])
        return bytes(self._map[_PLACE : _PLACE + min(length, _PLACE_SIZE)]).decode("utf-8", "replace")

    def note_place(self, number: int, text: str) -> None:
        """Keep where the code of this job is."""
        data = text.encode("utf-8", "replace")[-_PLACE_SIZE:]
        _U64.pack_into(self._map, _PLACE_OF, 0)
        self._map[_PLACE : _PLACE + len(data)] = data
        _U32.pack_into(self._map, _PLACE_LENGTH, len(data))
        _U64.pack_into(self._map, _PLACE_OF, number)
