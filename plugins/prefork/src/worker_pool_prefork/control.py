"""What a child does with the frames that come, and the control thread, which speaks for a main thread that is busy."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .frames import FrameKind, Word, read_jobs, read_news
from .link import Link

log = logging.getLogger("worker_pool_prefork")


class Lane(Protocol):
    """What runs jobs in a child. `serve` belongs to the main thread, everything else to whoever reads the pipe."""

    def serve(self) -> None:
        """Run jobs until `quit`, then return."""
        ...

    def submit(self, number: int, job: bytes) -> None:
        """Take a job; never blocks."""
        ...

    def take_back(self, numbers: frozenset[int]) -> list[int]:
        """Give back what has not started of ``numbers``; an empty set: of all. Returns what is still to be told."""
        ...

    def order(self, word: str, arguments: list[Any]) -> None:
        """Carry out what only an inner pool understands."""
        ...

    def quit(self) -> None:
        """Let `serve` return once what runs has ended. What waits is given back."""
        ...


def start_thread(work: Callable[[], None], name: str = "worker-control") -> None:
    """Have ``work`` done by the control thread, or another; when it returns, this process ends."""

    def control() -> None:
        # A signal that this thread took would not interrupt what the main thread sleeps in.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
        or_end_process(work)
        end_process()

    threading.Thread(target=control, name=name, daemon=True).start()


def or_end_process(work: Callable[[], None]) -> None:
    """Do what must not fail: where it does, or the worker is gone, this process is of no use."""
    try:
        work()
    except OSError:
        end_process()  # the worker is gone
    except BaseException:
        log.critical("a child of the pool cannot go on", exc_info=True)
        end_process()


def read_on(link: Link, lane: Lane) -> None:
    """Obey the worker until it is gone."""
    while obey(link, lane):
        pass


def obey(link: Link, lane: Lane) -> bool:
    """Wait for frames and act on them; False: the worker is gone."""
    frames = link.receive()
    if frames is None:
        return False
    _dispatch(link, lane, frames)
    return True


def _dispatch(link: Link, lane: Lane, frames: Iterable[tuple[int, bytes]]) -> None:
    for kind, payload in frames:
        if kind == FrameKind.JOBS:
            for number, job in read_jobs(payload):
                lane.submit(number, job)
            continue
        for word, *arguments in read_news(payload):
            if word == Word.TAKE_BACK:
                link.tell([Word.RETURNED, lane.take_back(frozenset(arguments[0]))])
            elif word == Word.QUIT:
                link.tell([Word.RETURNED, lane.take_back(frozenset())])
                lane.quit()
            else:
                lane.order(word, arguments)


def end_process() -> None:
    """End this process at once, and whatever it has started: nobody is left to tell anything."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
