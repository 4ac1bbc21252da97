"""A probe tells what importing a plugin does, whatever that is, within its limit."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from worker_kernel.plugins.found import Found, Kind, Status
from worker_kernel.plugins.probe import GRACE, Probe, Verdict, after, probe

if TYPE_CHECKING:
    from ..conftest import Site

GENEROUS = 60.0  # seconds: for imports that end by themselves, however busy the machine is


def probed(site: Site, source: str, limit: float = GENEROUS, value: str = "acme_probed") -> Probe:
    site.module("acme_probed", source)
    return probe(value, limit=limit)


def test_an_import_that_returns_is_measured(importable: Site) -> None:
    importable.module("acme_more", "")
    result = probed(importable, "import acme_more, time; time.sleep(0.05)")
    assert (result.verdict, result.message, result.modules, result.threads) == (Verdict.OK, "", 2, 0)
    assert result.seconds is not None
    assert result.seconds >= 0.05


def test_threads_that_an_import_starts_are_counted_and_do_not_keep_it(importable: Site) -> None:
    result = probed(importable, "import threading; threading.Thread(target=threading.Event().wait).start()")
    assert (result.verdict, result.threads) == (Verdict.OK, 1)


@pytest.mark.parametrize(
    ("source", "verdict", "message"),
    [
        ("raise RuntimeError('native library missing')", Verdict.RAISES, "RuntimeError: native library missing"),
        ("raise BaseException('odd')", Verdict.RAISES, "BaseException: odd"),
        ("import sys; sys.exit(0)", Verdict.EXITS, "exits at import with status 0"),
        ("import sys; sys.exit('gone')", Verdict.EXITS, "exits at import with status 1"),
        ("import os; os._exit(0)", Verdict.EXITS, "exits at import with status 0"),
        ("import os; os._exit(1)", Verdict.EXITS, "exits at import with status 1"),
        ("import ctypes; ctypes.string_at(0)", Verdict.KILLED, "kills the interpreter: SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", Verdict.KILLED, "kills the interpreter: SIGKILL"),
    ],
)
def test_the_ways_to_fail_are_told_apart(importable: Site, source: str, verdict: Verdict, message: str) -> None:
    result = probed(importable, source)
    assert (result.verdict, result.message) == (verdict, message)
    assert (result.seconds, result.modules, result.threads) == (None, None, None)


@pytest.mark.parametrize("source", ["import threading; threading.Event().wait()", "while True: pass"])
def test_an_import_that_hangs_is_ended_at_its_limit(importable: Site, source: str) -> None:
    began = time.monotonic()
    result = probed(importable, source, limit=0.3)
    assert (result.verdict, result.message) == (Verdict.HANGS, "hangs at import (> 0.3 s)")
    assert time.monotonic() - began < 0.3 + GRACE


def test_an_import_that_hangs_while_it_holds_the_interpreter_is_ended_too(importable: Site) -> None:
    source = "import ctypes; ctypes.PyDLL(None).pause()"
    assert probed(importable, source, limit=0.3).verdict is Verdict.HANGS


def test_an_import_that_disarms_the_timer_is_killed_after_the_grace(importable: Site) -> None:
    disarmed = "import faulthandler, threading; faulthandler.cancel_dump_traceback_later(); threading.Event().wait()"
    importable.module("acme_probed", disarmed)
    assert probe("acme_probed", limit=0.2, grace=2.0).verdict is Verdict.HANGS


def test_an_attribute_is_looked_up(importable: Site) -> None:
    assert probed(importable, "command = 3", value="acme_probed:command").verdict is Verdict.OK
    result = probed(importable, "", value="acme_probed:command.name")
    assert (result.verdict, result.message.partition(":")[0]) == (Verdict.RAISES, "AttributeError")


def test_what_a_plugin_prints_goes_nowhere(importable: Site, capfd: pytest.CaptureFixture[str]) -> None:
    probed(importable, "import sys; print('out'); print('err', file=sys.stderr)")
    assert capfd.readouterr() == ("", "")


def test_probing_imports_nothing_here_and_leaves_nothing(importable: Site) -> None:
    threads = threading.active_count()
    before = sorted(importable.folder.iterdir())
    probe("acme_nowhere")
    assert "acme_nowhere" not in sys.modules
    assert threading.active_count() == threads
    assert sorted(importable.folder.iterdir()) == before


def test_a_failed_probe_makes_a_sound_row_broken_and_leaves_others_their_reason() -> None:
    ready = Found(name="acme", kind=Kind.POOL, value="acme", dist="acme-pool")
    failed = Probe(verdict=Verdict.KILLED, message="kills the interpreter: SIGSEGV")
    row = after(ready, failed)
    assert (row.status, row.reason) == (Status.BROKEN, "kills the interpreter: SIGSEGV")
    assert "KERNEL_PLUGINS=-acme" in row.remedy
    incompatible = ready.becoming(Status.INCOMPATIBLE, "needs more")
    assert after(incompatible, failed) is incompatible
    assert after(ready, Probe(verdict=Verdict.OK)) is ready
