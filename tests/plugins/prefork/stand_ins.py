"""A crew whose children are played by the test: no process is started, and time is moved by hand."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import attrs
from tests.plugins.prefork.small_application import SmallJob

from worker_kernel import Outcome, OutcomeKind, PoolConfig
from worker_kernel.testing import FakeClock, RecordingListener
from worker_pool_prefork.child import Ends
from worker_pool_prefork.crew import Crew
from worker_pool_prefork.entry import Entry
from worker_pool_prefork.frames import FrameKind, FrameReader, Word, news_frame, outcome_to_news, read_jobs, read_news
from worker_pool_prefork.host import Host
from worker_pool_prefork.launch.launcher import Birth, Exit
from worker_pool_prefork.orders import Orders
from worker_pool_prefork.page import Page
from worker_pool_prefork.reactor import Reactor


class PlayedChild:
    """The child's side of a pipe and a page, as the test plays it."""

    def __init__(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        self.orders, self.birth = orders, birth
        self.pipe = socket.socket(fileno=os.dup(ends.pipe))
        self.pipe.setblocking(False)
        self.page = Page(ends.page)
        self.jobs: list[int] = []
        """The numbers of the jobs that came, in order."""
        self.batches: list[list[int]] = []
        """The same, by frame."""
        self.told: list[list[Any]] = []
        """The news that came."""
        self._reader = FrameReader()

    def ready(self) -> None:
        """Take jobs from now on."""
        self.say([Word.READY])

    def say(self, *news: list[Any]) -> None:
        """Send news."""
        self.pipe.sendall(news_frame(news))

    def finish(self, number: int, seconds: float = 0.0) -> None:
        """Say that a job has ended well."""
        outcome = Outcome(job_id="", kind=OutcomeKind.SUCCEEDED, stored=True)
        self.say([Word.FINISHED, number, 1.0, seconds, outcome_to_news(outcome)])

    def listen(self) -> None:
        """Read what came."""
        while True:
            try:
                data = self.pipe.recv(1 << 20)
            except BlockingIOError:
                return
            if not data:
                return
            for kind, payload in self._reader.feed(data):
                if kind == FrameKind.JOBS:
                    self.batches.append([number for number, _ in read_jobs(payload)])
                    self.jobs += self.batches[-1]
                else:
                    self.told += read_news(payload)

    def end(self, status: int = signal.SIGKILL) -> None:
        """End, in this way."""
        self.close()
        self.birth.exited(Exit(status=status, peak=0))

    def close(self) -> None:
        """Release what the test holds of it."""
        if self.pipe.fileno() >= 0:
            self.pipe.close()
            self.page.close()


class PlayedLauncher:
    """Starts nothing, and hands the child's ends to the test."""

    def __init__(self) -> None:
        self.children: list[PlayedChild] = []
        self.renewed = 0
        self.overdue_births: list[Birth] = []

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        self.children.append(PlayedChild(orders, ends, birth))

    def overdue(self, birth: Birth) -> None:
        """See `Launcher.overdue`."""
        self.overdue_births.append(birth)

    def renew(self) -> None:
        """See `Launcher.renew`."""
        self.renewed += 1

    def close(self) -> None:
        """See `Launcher.close`."""


@attrs.define(eq=False)
class Played:
    """A crew with played children. It tells what it is told in the order in which that happens."""

    reactor: Reactor
    clock: FakeClock
    launcher: PlayedLauncher
    crew: Crew
    finished: list[tuple[int, Outcome]]
    failing: list[tuple[str, int]]
    number: int = 0

    @property
    def children(self) -> list[PlayedChild]:
        """Every child that was ever asked for."""
        return self.launcher.children

    def submit(self, count: int = 1, task: str = "noop", **script: Any) -> list[Entry]:
        """Put jobs into the schedule, and let the crew give them out."""
        entries = []
        for _ in range(count):
            self.number += 1
            entries.append(Entry(self.number, SmallJob(f"job-{self.number}", task, **script)))
            self.crew.schedule.put(entries[-1])
        self.crew.pump()
        self.turn()
        return entries

    def turn(self, seconds: float = 0.0) -> None:
        """Move the clock, and do what there is to do."""
        self.clock.advance(seconds)
        for _ in range(4):  # what one turn brings about, the next one does
            self.reactor.turn(0.0)
        for child in self.children:
            if child.pipe.fileno() >= 0:
                child.listen()

    def host(self, child: PlayedChild) -> Host:
        """Return the worker's view of a child."""
        assert isinstance(child.birth, Host)
        return child.birth

    def close(self) -> None:
        """Let every child end."""
        self.crew.end()
        for child in self.children:
            if child.pipe.fileno() >= 0:
                child.end()
        self.turn()
        self.reactor.close()


def play(limit: int = 1, *, ready: bool = True, slots: int = 0, **options: Any) -> Played:
    """Return a crew of so many children, which take jobs, unless they are not to be ``ready`` yet.

    With ``slots``, each of them runs another pool, of so many.
    """
    clock = FakeClock()
    clock.advance(1000.0)
    reactor = Reactor(clock, name="played")
    launcher = PlayedLauncher()
    config = PoolConfig(limit=limit, listener=RecordingListener(), clock=clock, **options)
    finished: list[tuple[int, Outcome]] = []
    failing: list[tuple[str, int]] = []

    class Listener:
        def accepted(self, entry: Entry, host: Host) -> None:
            pass

        def finished(self, entry: Entry, outcome: Outcome) -> None:
            finished.append((entry.number, outcome))

        def failing(self, reason: str, exit_code: int) -> None:
            failing.append((reason, exit_code))

        def changed(self) -> None:
            pass

    orders = Orders(index=0, slots=(0,), title="played", parent=os.getpid(), inner="played:Pool" if slots else "")
    crew = Crew(config, orders, reactor, launcher, Listener())
    played = Played(reactor, clock, launcher, crew, finished, failing)
    for _ in range(limit):
        crew.enlist(slots or 1)
    if ready:
        for child in launcher.children:
            child.ready()
    played.turn()
    return played


Play = Callable[..., Played]
