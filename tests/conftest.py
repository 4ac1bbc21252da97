"""Guards around every test: none may leave a thread, a child process, a file descriptor or a signal handler behind.

A test that means to leave something says so, and why: ``@pytest.mark.leaves("threads", reason="...")``.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
from tests.waiting import missing, wait_for

hypothesis.settings.register_profile(
    "loaded machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("loaded machine")  # how long an example takes says nothing about the program

GRACE = 5.0  # seconds within which what a test has ended must be gone
POLL = 0.01
KINDS = ("threads", "children", "descriptors", "signal handlers")
FOREIGN = ("/.hypothesis/", "/.coverage", "/dev/urandom", "anon_inode:inotify")  # descriptors of the tools themselves


def threads() -> dict[object, str]:
    """The threads of this process."""
    return {thread: f"thread {thread.name!r} (daemon: {thread.daemon})" for thread in threading.enumerate()}


def children() -> dict[object, str]:
    """The child processes of this process, zombies included, where the platform has /proc; else none."""
    found: dict[object, str] = {}
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (AttributeError, ChildProcessError):  # the usual case, and much faster than reading /proc
        return found
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, fields = (folder / "stat").read_text(errors="replace").rsplit(")", 1)
        except OSError:  # it has ended since
            continue
        if int(fields.split()[1]) == os.getpid():
            found[folder.name] = f"process {folder.name} {name.partition('(')[2]}"
    return found


def descriptors() -> dict[object, str]:
    """The open file descriptors of this process with what they lead to, where the platform has /proc; else none."""
    found: dict[object, str] = {}
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # the one that lists the folder
            continue
        if not any(part in target for part in FOREIGN):
            found[entry.name, target] = f"descriptor {entry.name} -> {target}"
    return found


def handlers() -> dict[object, str]:
    """The signal handlers of this process, but for those that the test runner sets around a test."""
    numbers = set(signal.valid_signals()) - {getattr(signal, "SIGALRM", None)}
    return {
        (number, signal.getsignal(number)): f"{signal.Signals(number).name} -> {signal.getsignal(number)}"
        for number in sorted(number for number in numbers if number is not None)
        if number in signal.Signals.__members__.values()
    }


LOOKS: Mapping[str, Callable[[], dict[object, str]]] = dict(
    zip(KINDS, (threads, children, descriptors, handlers), strict=True)
)


def left(before: Mapping[str, dict[object, str]], allowed: frozenset[str]) -> list[str]:
    """What there is now and was not before, in words."""
    return [
        f"{kind}: {words}"
        for kind, look in LOOKS.items()
        if kind not in allowed
        for thing, words in look().items()
        if thing not in before[kind]
    ]


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    marks = list(request.node.iter_markers("leaves"))
    assert all(mark.kwargs.get("reason") and set(mark.args) <= set(KINDS) for mark in marks), marks
    allowed = frozenset(kind for mark in marks for kind in mark.args)
    before = {kind: look() for kind, look in LOOKS.items()}
    yield
    remains = left(before, allowed)
    deadline = time.monotonic() + GRACE
    while remains and time.monotonic() < deadline:
        gc.collect()  # what only a cycle of garbage keeps is not left behind
        time.sleep(POLL)
        remains = left(before, allowed)
    if remains:
        pytest.fail("the test leaves behind " + "; ".join(remains), pytrace=False)


@pytest.fixture
def until() -> Callable[..., object]:
    """See `wait_for`."""
    return wait_for


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of the settings under test."""
    for name in [name for name in os.environ if name.startswith("KERNEL_")]:
        monkeypatch.delenv(name)


MEASURING = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""Variables by which coverage gets into the processes that a test starts."""

STUCK = re.compile(
    r"sleep|block|stuck|zombie|limit|kill|terminat|cancel|lie|liar|swallow|outliv|cannot_be_ended|C_WITH", re.IGNORECASE
)
"""What tests are called in which an exception may wait for a thread that runs no Python."""


@pytest.fixture(autouse=True)
def no_tracing_while_an_exception_waits(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Measure no coverage in such tests, nor in the processes they start, on CPython 3.11.

    While an exception that was sent to a thread has not arrived, CPython 3.11 does not enter a traced function, in no
    thread: whoever is to end the wait would wait as well. Later versions do.
    """
    before = sys.gettrace(), threading.gettrace()
    if before == (None, None) or sys.version_info >= (3, 12) or STUCK.search(request.node.nodeid) is None:
        yield
        return
    for name in MEASURING:
        monkeypatch.delenv(name, raising=False)
    sys.settrace(None)
    threading.settrace(None)
    yield
    sys.settrace(before[0])
    threading.settrace(before[1])


ONCE_MORE = ("redis", "packaging", "docs", "examples", "interop")
"""Folders of tests whose processes run once more what others' run."""


@pytest.fixture(autouse=True)
def no_measuring_of_what_runs_once_more(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in the processes of such tests, nor in those of a matrix's further rows: it takes long."""
    callspec = getattr(request.node, "callspec", None)
    further_row = callspec is not None and any(callspec.indices.values())
    if further_row or request.node.path.parent.name in ONCE_MORE:
        for name in MEASURING:
            monkeypatch.delenv(name, raising=False)


SERVICES: Mapping[str, tuple[int, str]] = {
    "rabbitmq": (5672, "amqp://guest:guest@127.0.0.1:5672//"),
    "redis": (6379, "redis://127.0.0.1:6379/0"),
}
"""The servers that tests may ask for: their ports on the loopback interface, and the URLs of brokers on them."""


@pytest.fixture(scope="session")
def service() -> Callable[[str], str]:
    """Return the URL of a server by name; where it does not answer, skip the test, or fail it where it was promised."""

    def url(name: str) -> str:
        port, url = SERVICES[name]
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError as exc:
            missing(f"{name} does not answer on 127.0.0.1:{port} ({exc.strerror or exc}): make services")
        return url

    return url


@pytest.fixture
def rabbitmq_url(service: Callable[[str], str]) -> str:
    return service("rabbitmq")


@pytest.fixture
def redis_url(service: Callable[[str], str]) -> str:
    return service("redis")


def pytest_collection_finish() -> None:
    """Put what was imported out of the garbage collector's way, which is asked after most tests."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not run for want of a server, and of which."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple))
    for reason, count in sorted(reasons.items()):
        if "make services" in reason:
            terminalreporter.write_line(f"{count} test(s) did not run: {reason.removeprefix('Skipped: ')}", yellow=True)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark by which a test says what it leaves behind."""
    config.addinivalue_line(
        "markers", f"leaves(kind, ..., reason=...): leaves things behind; kinds: {', '.join(KINDS)}"
    )
    fork_between_entries_of_coverage()


def fork_between_entries_of_coverage() -> None:
    """Let no fork happen while another thread is in coverage's books: the child would wait for that thread for ever."""
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    lock = getattr(getattr(measuring, "_collector", None), "data_lock", None)
    if lock is not None:
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
