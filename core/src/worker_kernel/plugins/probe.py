"""Imports plugins each in an interpreter of its own, to tell what importing them does, whatever that is."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from .found import Found, Status, one_line
from .quarantine import remedy_for_broken

LIMIT = 5.0
"""Seconds that an import may take by default."""

GRACE = 20.0
"""Seconds beyond the limit that a child may take to come up and to end, on a machine under load."""


class Verdict(enum.StrEnum):
    """What an import did."""

    OK = "ok"
    """It returned."""
    RAISES = "raises"
    """It raised an exception."""
    EXITS = "exits"
    """It ended the interpreter, by SystemExit or by ``os._exit``."""
    HANGS = "hangs"
    """It did not return within the limit."""
    KILLED = "killed"
    """It crashed the interpreter, or had it killed by a signal."""


@attrs.frozen(kw_only=True)
class Probe:
    """What importing one plugin did."""

    verdict: Verdict
    """See `Verdict`."""
    message: str = ""
    """In words, on one line; empty for ok."""
    seconds: float | None = None
    """How long the import took; None where it did not return."""
    modules: int | None = None
    """How many modules it pulled in, itself included; None where it did not return."""
    threads: int | None = None
    """How many threads of Python it left running; None where it did not return."""


def probe(value: str, *, limit: float = LIMIT, grace: float = GRACE) -> Probe:
    """Import ``package.module[:attribute]`` in a new interpreter with the same path and environment.

    Never raises because of what is imported. Returns within ``limit`` plus ``grace``.
    The child has no input and its output goes nowhere. Processes that the plugin starts are its own affair.

    Args:
        value: what to import.
        limit: seconds (> 0) that the import may take.
        grace: seconds (> 0) that the interpreter may take besides, and after which it is killed even if the plugin
            has disarmed the timer that ends it.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-probe-") as name:
        folder = Path(name)
        order = {"value": value, "path": [str(entry) for entry in sys.path], "limit": limit}
        (folder / "order.json").write_text(json.dumps(order))
        command = [sys.executable, "-c", _CHILD, name]
        with subprocess.Popen(  # noqa: S603  (our own code; what it imports is what the user installed)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=os.name == "posix",
        ) as child:
            try:
                status: int | None = child.wait(limit + grace)
            except subprocess.TimeoutExpired:
                _kill(child)
                status = None
        return _judge(status, _read(folder / "answer.json"), _size(folder / "stack") > 0, limit)


def after(row: Found, result: Probe) -> Found:
    """Return the row with what its probe tells; one that is in trouble already keeps its status and reason."""
    if result.verdict is Verdict.OK or row.status not in (Status.READY, Status.SELECTED, Status.LOADED):
        return row
    return row.becoming(Status.BROKEN, result.message, remedy_for_broken(row))


def _judge(status: int | None, answer: Mapping[str, object] | None, overdue: bool, limit: float) -> Probe:
    if answer is not None and answer.get("verdict") == Verdict.OK:
        return Probe(
            verdict=Verdict.OK,
            seconds=_number(answer, "seconds"),
            modules=int(_number(answer, "modules")),
            threads=int(_number(answer, "threads")),
        )
    if answer is not None:
        return Probe(verdict=Verdict(str(answer["verdict"])), message=one_line(str(answer["message"])))
    if status is None or overdue:
        return Probe(verdict=Verdict.HANGS, message=f"hangs at import (> {limit:g} s)")
    if status < 0:
        return Probe(verdict=Verdict.KILLED, message=f"kills the interpreter: {_signal_name(-status)}")
    return Probe(verdict=Verdict.EXITS, message=f"exits at import with status {status}")


def _read(path: Path) -> Mapping[str, object] | None:
    try:
        answer = json.loads(path.read_text())
    except (OSError, ValueError):  # none was written, or the child ended while it was
        return None
    return answer if isinstance(answer, dict) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _number(answer: Mapping[str, object], key: str) -> float:
    value = answer.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):  # it has ended in the meantime
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


# Runs in the child: nothing but the standard library before the import that is measured. A native timer ends an
# import that hangs, even one that holds the interpreter's lock, and leaves the stack as its sign; threads and exit
# handlers of the plugin do not keep the child once it has answered.
_CHILD = """
import faulthandler, json, os, sys, threading, time
folder = sys.argv[1]
with open(os.path.join(folder, "order.json")) as file:
    order = json.load(file)
sys.argv = [sys.argv[0]]
sys.path[:] = order["path"]
import importlib
stack = open(os.path.join(folder, "stack"), "wb", buffering=0)
replace, leave, clock, dumps = os.replace, os._exit, time.perf_counter, json.dumps

def answer(**said):
    text = dumps(said).encode()
    with open(os.path.join(folder, "answer.tmp"), "wb") as file:
        file.write(text)
    replace(os.path.join(folder, "answer.tmp"), os.path.join(folder, "answer.json"))
    leave(0)

modules, threads = set(sys.modules), threading.active_count()
faulthandler.dump_traceback_later(order["limit"], exit=True, file=stack)
module, _, attribute = order["value"].partition(":")
began = clock()
try:
    found = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        found = getattr(found, name)
except SystemExit as exc:
    code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    answer(verdict="exits", message=f"exits at import with status {code}")
except BaseException as exc:
    try:
        text = f"{type(exc).__name__}: {exc}"
    except Exception:
        text = type(exc).__name__
    answer(verdict="raises", message=text)
seconds = clock() - began
faulthandler.cancel_dump_traceback_later()
pulled, started = len(set(sys.modules) - modules), threading.active_count() - threads
answer(verdict="ok", seconds=seconds, modules=pulled, threads=started)
"""
