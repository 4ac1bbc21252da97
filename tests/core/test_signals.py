from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from worker_kernel import KernelBug
from worker_kernel.platforms import current
from worker_kernel.signals import SignalMailbox

LONG = 60.0


def wait_readable(mailbox: SignalMailbox) -> None:
    assert select.select([mailbox], [], [], LONG)[0]


def test_signals_are_read_by_name_in_their_order_and_as_often_as_they_came() -> None:
    with SignalMailbox(["SIGTERM", "SIGINT"]) as mailbox:
        assert mailbox.read() == []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        assert mailbox.read() == ["SIGINT", "SIGTERM", "SIGINT"]
        assert mailbox.read() == []


def test_it_takes_the_platforms_stop_signals() -> None:
    with SignalMailbox(current().stop_signals) as mailbox:
        for name in current().stop_signals:
            signal.raise_signal(getattr(signal, name))
        assert mailbox.read() == list(current().stop_signals)


def test_a_signal_between_install_and_the_first_read_is_not_lost() -> None:
    mailbox = SignalMailbox(["SIGTERM"])
    mailbox.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_readable(mailbox)
        assert mailbox.read() == ["SIGTERM"]
    finally:
        mailbox.restore()


def test_what_was_not_read_can_be_read_after_restore() -> None:
    with SignalMailbox(["SIGTERM"]) as mailbox:
        signal.raise_signal(signal.SIGTERM)
    assert mailbox.fileno() == -1
    assert mailbox.read() == ["SIGTERM"]
    assert mailbox.read() == []


def test_restore_puts_everything_back() -> None:
    def handler(*_: object) -> None:
        """Somebody else's."""

    one, other = socket.socketpair()
    one.setblocking(False)
    before = signal.signal(signal.SIGTERM, handler)
    fd = signal.set_wakeup_fd(one.fileno())
    try:
        mailbox = SignalMailbox(["SIGTERM"])
        mailbox.install()
        assert signal.getsignal(signal.SIGTERM) is not handler
        mailbox.restore()
        mailbox.restore()
        assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.set_wakeup_fd(one.fileno()) == one.fileno()
        mailbox.install()  # and once more
        mailbox.restore()
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.set_wakeup_fd(fd)
        signal.signal(signal.SIGTERM, before)
        one.close()
        other.close()


def test_a_wakeup_descriptor_that_was_closed_meanwhile_is_not_put_back() -> None:
    one, other = socket.socketpair()
    one.setblocking(False)
    signal.set_wakeup_fd(one.fileno())
    mailbox = SignalMailbox(["SIGTERM"])
    mailbox.install()
    one.close()
    other.close()
    mailbox.restore()
    assert signal.set_wakeup_fd(-1) == -1


def test_the_handler_wakes_whoever_asked_for_it() -> None:
    woken: list[int] = []
    with SignalMailbox(["SIGTERM"], wake=lambda: woken.append(1)) as mailbox:
        signal.raise_signal(signal.SIGTERM)
        assert woken == [1]
        assert mailbox.read() == ["SIGTERM"]


def test_signals_that_somebody_else_handles_are_not_read() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))
    try:
        with SignalMailbox(["SIGTERM"]) as mailbox:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            assert mailbox.read() == ["SIGTERM"]
        assert handled == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signals_that_the_platform_does_not_have_are_left_out() -> None:
    with SignalMailbox(["SIGBREAK", "SIGNONE", "SIGTERM"]) as mailbox:
        signal.raise_signal(signal.SIGTERM)
        assert mailbox.read() == ["SIGTERM"]


def test_a_signal_that_cannot_be_handled_installs_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    mailbox = SignalMailbox(["SIGTERM", "SIGKILL"])
    with pytest.raises(OSError, match="Invalid argument"):
        mailbox.install()
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert mailbox.fileno() == -1


def test_it_is_installed_once_and_by_the_main_thread_only() -> None:
    mailbox = SignalMailbox(["SIGTERM"])
    errors: list[BaseException] = []

    def install() -> None:
        try:
            mailbox.install()
        except KernelBug as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
    with mailbox, pytest.raises(KernelBug, match="already"):
        mailbox.install()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_second_thread_reads_while_the_main_thread_is_in_a_c_call() -> None:
    """The C call locks a mutex twice: no signal ends it, and no Python handler can run."""
    code = textwrap.dedent(
        """
        import ctypes, os, select, threading
        from worker_kernel.signals import SignalMailbox

        ran = []
        mailbox = SignalMailbox(["SIGTERM"], wake=lambda: ran.append(1))

        def loop():
            select.select([mailbox], [], [])
            print(mailbox.read(), "python handlers run:", len(ran), flush=True)
            os._exit(0)

        mailbox.install()
        threading.Thread(target=loop, daemon=True).start()
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        print("ready", flush=True)
        libc.pthread_mutex_lock(mutex)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        stat = Path(f"/proc/{process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)  # until its main thread sleeps inside the call
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "['SIGTERM'] python handlers run: 0\n"
        assert process.wait(LONG) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_forked_child_does_not_write_into_its_parents_mailbox() -> None:
    code = textwrap.dedent(
        """
        import os, signal
        from worker_kernel.signals import SignalMailbox

        with SignalMailbox(["SIGTERM"]) as mailbox:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            status = os.waitpid(child, 0)[1]
            print(os.waitstatus_to_exitcode(status), mailbox.read())
            signal.raise_signal(signal.SIGTERM)
            print(mailbox.read())
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=True)
    # Killed by the signal, as before install, and the parent heard nothing of it.
    assert done.stdout == "-15 []\n['SIGTERM']\n"


def test_a_flood_that_nobody_reads_neither_blocks_nor_raises() -> None:
    with SignalMailbox(["SIGTERM"]) as mailbox:
        began = time.monotonic()
        for _ in range(2000):
            signal.raise_signal(signal.SIGTERM)
        assert len(mailbox.read()) >= 100
        assert time.monotonic() - began < LONG
