"""What a worker's processes use, from ``/proc`` (Linux): CPU time and memory of a main process and its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import attrs

TICK = 1 / os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Usage:
    """CPU seconds used so far, in user and kernel mode."""

    main: float
    """Of the process that was started."""
    children: float
    """Of all others in its session, ended and waited-for ones included."""

    def since(self, earlier: Usage) -> Usage:
        return Usage(main=self.main - earlier.main, children=self.children - earlier.children)


class Processes:
    """One worker: what was started, each in a session of its own, and all that came of it."""

    def __init__(self, started: list[subprocess.Popen[bytes]]) -> None:
        self.started = started
        self._sessions = {process.pid for process in started}

    def pids(self) -> list[int]:
        """All processes of its sessions, in no order."""
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in numbers if (fields := _stat(pid)) and int(fields[3]) in self._sessions]

    def died(self) -> int | None:
        """The exit status of a process that was started and is no more; None while all run."""
        return next((code for process in self.started if (code := process.poll()) is not None), None)

    def usage(self) -> Usage:
        """The CPU time so far, to a hundredth of a second for each process."""
        main = children = 0.0
        for pid in self.pids():
            fields = _stat(pid)
            if fields is None:
                continue
            own, waited = (sum(int(value) for value in fields[start : start + 2]) * TICK for start in (11, 13))
            if pid == self.started[0].pid:
                main += own
                children += waited
            else:
                children += own + waited
        return Usage(main=main, children=children)

    def pss(self, without: Path) -> int:
        """Bytes of memory, shared pages divided by those who share them; files in the folder `without` are left out."""
        return sum(_pss(pid, str(without)) for pid in self.pids())

    def kill(self) -> None:
        """End all at once, and return when they are gone. What they held is for the bench to clear."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.wait()
        while any((fields := _stat(pid)) is not None and fields[0] != "Z" for pid in self.pids()):
            time.sleep(0.002)


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the third on; None where there is no such process any more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _pss(pid: int, without: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    total, counted = 0, True
    for line in text.splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):  # the head of a mapping: addresses, rights, ..., path
            counted = without not in line
        elif first == "Pss:" and counted:
            total += int(line.split()[1]) * 1024
    return total
