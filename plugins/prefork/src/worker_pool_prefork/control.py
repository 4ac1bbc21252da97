"""The child's control thread: owns the reading end of the pipe, hands jobs over, and speaks for a busy main thread."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any, Protocol

from .frames import FrameKind, Word, read_jobs, read_news
from .link import IDLE, Link

log = logging.getLogger("worker_pool_prefork")

TICK = 0.01
"""Seconds between two looks at what runs."""


class Lane(Protocol):
    """What runs jobs in a child. `serve` belongs to the main thread, everything else to the control thread."""

    def serve(self) -> None:
        """Run jobs until `quit`, then return."""
        ...

    def submit(self, number: int, job: bytes) -> None:
        """Take a job; never blocks."""
        ...

    def take_back(self, numbers: frozenset[int]) -> list[int]:
        """Give back what has not started of ``numbers``; an empty set: of everything."""
        ...

    def order(self, word: str, arguments: list[Any]) -> None:
        """Carry out what only an inner pool understands."""
        ...

    def tick(self) -> bool:
        """Tell what is to be told of what runs. Returns whether anything runs, and so the next tick is needed."""
        ...

    def quit(self) -> None:
        """Let `serve` return once what runs has ended. What waits is given back."""
        ...


def start(link: Link, lane: Lane) -> threading.Thread:
    """Start the control thread of a child."""
    thread = threading.Thread(target=_serve, args=(link, lane), name="worker-control", daemon=True)
    thread.start()
    return thread


def _serve(link: Link, lane: Lane) -> None:
    _leave_signals_to_the_main_thread()
    busy, next_tick = False, 0.0
    try:
        while True:
            frames = link.receive(TICK if busy else IDLE)
            if frames is None:
                break
            for kind, payload in frames:
                _dispatch(link, lane, kind, payload)
            now = time.monotonic()
            if frames and now < next_tick:
                busy = True  # the main thread wants the interpreter now, for what has just come
            else:
                busy, next_tick = lane.tick(), now + TICK
    except OSError:
        pass  # the worker is gone
    except BaseException:
        log.critical("a child of the pool cannot go on", exc_info=True)
    end_process()


def _dispatch(link: Link, lane: Lane, kind: int, payload: bytes) -> None:
    if kind == FrameKind.JOBS:
        for number, job in read_jobs(payload):
            lane.submit(number, job)
        return
    for word, *arguments in read_news(payload):
        if word == Word.TAKE_BACK:
            link.tell([Word.RETURNED, lane.take_back(frozenset(arguments[0]))])
        elif word == Word.QUIT:
            link.tell([Word.RETURNED, lane.take_back(frozenset())])
            lane.quit()
        else:
            lane.order(word, arguments)


def _leave_signals_to_the_main_thread() -> None:
    """A signal that this thread took would not interrupt what the main thread sleeps in."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})


def end_process() -> None:
    """End this process at once, and whatever it has started: nobody is left to tell anything."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
