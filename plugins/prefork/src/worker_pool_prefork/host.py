"""The worker's view of one child: its pipe, its page, the jobs that it has, and how far it is in its life."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from worker_kernel import Clock, KernelBug, Outcome, Slot

from .child import Ends
from .entry import Entry
from .frames import (
    FrameKind,
    FrameReader,
    News,
    Word,
    jobs_frame,
    news_frame,
    outcome_from_news,
    read_news,
    tells_start,
)
from .launch.launcher import Exit, Launcher
from .orders import Orders
from .page import Page, make_page_file
from .reactor import READ, WRITE, Reactor, Timer
from .states import NEXT, HostState

log = logging.getLogger("worker_pool_prefork")

_CHUNK = 1 << 16  # a larger buffer would be mapped and unmapped by the allocator for each read
_CRASH_SIZE = 8192


class HostListener(Protocol):
    """Whom a host tells what happens to it. Called where the reactor is turned."""

    def on_ready(self, host: Host) -> None:
        """It takes jobs from now on."""
        ...

    def on_accepted(self, host: Host, entry: Entry) -> None:
        """A job has started. `on_running` follows, or its end."""
        ...

    def on_running(self, host: Host) -> None:
        """A job that has started goes on: its limits count from then."""
        ...

    def on_finished(self, host: Host, entry: Entry, outcome: Outcome, spent: float) -> None:
        """A job has ended after ``spent`` seconds. `on_room` follows, once for all whose end was told together."""
        ...

    def on_room(self, host: Host) -> None:
        """Jobs have ended; the host has room for others."""
        ...

    def on_returned(self, host: Host, entries: list[Entry]) -> None:
        """Jobs have not started, and never will there."""
        ...

    def on_failing(self, host: Host, reason: str) -> None:
        """Its inner pool cannot go on."""
        ...

    def on_gone(self, host: Host, ending: Exit) -> None:
        """It has ended, and all that it said is read. The jobs that it still has did not end by themselves."""
        ...


class Host:
    """One child. Everything belongs to whoever turns the reactor; nothing blocks."""

    def __init__(
        self,
        orders: Orders,
        reactor: Reactor,
        clock: Clock,
        listener: HostListener,
        *,
        generation: int = 0,
        lost_wait: float = 10.0,
    ) -> None:
        """Make the pipe and the page; `launch` starts the child.

        Args: ``lost_wait`` is in seconds: how long it may live on once its end of the pipe is closed, or it has left.
        """
        self.orders = orders
        self.generation = generation
        """Which restart of the pool it belongs to."""
        self._reactor, self._clock, self._listener = reactor, clock, listener
        self.pid = 0
        """Its process; 0: not known yet."""
        self.state = HostState.SPAWNED
        """How far it is in its life."""
        self.born = clock.monotonic()
        """When it was asked for, in the clock's time."""
        self.progress_at = self.born
        """When it last got on with its start."""
        self.phase = "being forked or executed"
        """What it is doing while it starts."""
        self.served = False
        """Whether it has ever been READY."""
        self.why_broken = ""
        """Why it could not start, in lines for people."""
        self.stale = ""
        """Why it is to be replaced; empty: it is not."""
        self.entries: dict[int, Entry] = {}
        """The jobs that it has, in the order in which it got them, by number."""
        self.slots = len(orders.slots)
        """How many jobs it runs at a time."""
        self.dispatched = 0
        """Runs given to it so far, reports not counted."""
        self.done = 0
        """Runs that have ended in it, reports not counted."""
        self.rss = 0
        """Its resident size when last looked at, in bytes."""
        self.predecessor: Host | None = None
        """The child that it replaces, as long as that has jobs: they use up its own room."""
        self.too_large = 0
        """The size in bytes for which it was killed; 0: it was not."""
        self.asked_back = False
        """Whether it has been asked to give jobs back, and has not answered."""
        self.long_job = 0
        """The job behind which nothing is to wait any more, since others were asked back from there; 0: none."""
        self.moved = self.born
        """When a job last left it, in the clock's time."""
        self.due = float("inf")
        """When one of its jobs has to be looked at for its limits."""
        self.places: dict[int, Slot] = {}
        """Those of its slots that have been told of, as the worker knows them."""
        self._pipe, theirs = socket.socketpair()
        self._pipe.setblocking(False)
        self._page_fd = make_page_file()
        self._crash_fd = os.memfd_create("worker-crash") if hasattr(os, "memfd_create") else make_page_file()
        self.page = Page(self._page_fd)
        """What the two share."""
        self._theirs: socket.socket | None = theirs
        self._reader = FrameReader()
        self._out: deque[memoryview] = deque()
        self._exit: Exit | None = None
        self._last_words = ""
        self._seen = b""
        self._lost_wait = lost_wait
        self._overdue: Timer | None = None
        self._launcher: Launcher | None = None
        reactor.watch(self._pipe.fileno(), READ, self._ready_for)

    def launch(self, launcher: Launcher) -> None:
        """Start the child. Raises what the launcher raises; the host is then to be closed."""
        assert self._theirs is not None  # noqa: S101  (a host is launched once)
        self._launcher = launcher
        ends = Ends(pipe=self._theirs.fileno(), page=self._page_fd, crash=self._crash_fd)
        try:
            launcher.launch(self.orders, ends, self)
        finally:
            self._theirs.close()
            self._theirs = None

    def close(self) -> None:
        """Release the descriptors. The child has ended. Idempotent."""
        if self._overdue is not None:
            self._overdue.cancel()
        if self._pipe.fileno() >= 0:
            self._reactor.forget(self._pipe.fileno())
            self._pipe.close()
            self.page.close()
            os.close(self._page_fd)
            os.close(self._crash_fd)

    # -- jobs and words to the child

    @property
    def before(self) -> int:
        """How many jobs the child still has that it replaces."""
        return 0 if self.predecessor is None else len(self.predecessor.entries)

    @property
    def room(self) -> int:
        """How many more jobs could start in it now."""
        return self.slots - len(self.entries) - self.before

    @property
    def takes_jobs(self) -> bool:
        """Whether it may be given jobs."""
        return self.state is HostState.READY or self.state is HostState.BUSY

    def dispatch(self, entries: list[Entry]) -> None:
        """Give it jobs, in one frame."""
        now = self._clock.monotonic()
        for entry in entries:
            entry.since = now
            entry.started = 0.0
            self.entries[entry.number] = entry
            self.dispatched += not entry.job.is_report
        if self.state is HostState.READY:
            self.become(HostState.BUSY)
        self.send(jobs_frame((entry.number, entry.data) for entry in entries))

    def tell(self, *news: News) -> None:
        """Send it news."""
        self.send(news_frame(news))

    def quit(self) -> None:
        """Let it exit; it has no jobs. One that does not, because somebody has stopped it, is killed."""
        self.tell([Word.QUIT])
        self._expect_end("was told to leave")

    def send(self, frame: bytes) -> None:
        """Put a frame into the pipe; what does not fit goes as soon as there is room."""
        if self._pipe.fileno() < 0 or self._exit is not None:
            return  # whoever waits for an answer learns of its end
        if self._out:
            self._out.append(memoryview(frame))
            return
        self._out.append(memoryview(frame))
        self._write()
        if self._out:
            self._reactor.watch(self._pipe.fileno(), READ | WRITE, self._ready_for)

    def _write(self) -> None:
        while self._out:
            try:
                sent = self._pipe.send(self._out[0])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()  # it is gone, which is noticed elsewhere
                return
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
                return
            self._out.popleft()

    def _ready_for(self, events: int) -> None:
        if events & WRITE:
            self._write()
            if not self._out and self._pipe.fileno() >= 0:
                self._reactor.watch(self._pipe.fileno(), READ, self._ready_for)
        if events & READ:
            self._read()

    # -- what the child says

    def _read(self) -> bool:
        """Read what is there. Returns whether there may be more."""
        try:
            data = self._pipe.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._hung_up()
            return False
        try:
            for kind, payload in self._reader.feed(data):
                if kind == FrameKind.NEWS:
                    self._hear(read_news(payload))
        except (KernelBug, ValueError, TypeError, KeyError) as exc:
            log.error("child %d speaks in riddles and is killed: %s", self.pid, exc)
            self.kill()
        return True

    def _hear(self, news: Iterable[Sequence[Any]]) -> None:
        """Act on what came in one frame. Most of it is how jobs have ended, many at a time where they are small."""
        ended, finished = False, Word.FINISHED
        for word, *arguments in news:
            if word == finished:
                ended = self._finished(*arguments) or ended
            else:
                self._told(word, arguments)
        if ended:
            self._look_at_next()
            self._listener.on_room(self)

    def _told(self, word: str, arguments: list[Any]) -> None:
        if word == Word.ACCEPTED:
            number, started, slot = arguments
            entry = self.entries.get(number)
            if entry is not None:
                self.accept(entry, started, slot)
                self._listener.on_running(self)
        elif word == Word.RETURNED:
            self.asked_back = False
            back = [self._drop(number) for number in arguments[0] if number in self.entries]
            self._look_at_next()
            self._listener.on_returned(self, back)
        elif word == Word.READY:
            if self.state in (HostState.SPAWNED, HostState.STARTING):
                self.become(HostState.READY)
                self.served = True
                self._listener.on_ready(self)
        elif word == Word.PHASE:
            self.progress(arguments[0])
        elif word == Word.BROKEN:
            self.broken(arguments[0])
        elif word == Word.FAILING:
            self._listener.on_failing(self, arguments[0])

    def _finished(self, number: int, started: float, spent: float, told: list[Any], slot: int = 0) -> bool:
        """A job has ended. Returns whether it was still here: its end may have been decided elsewhere."""
        entry = self.entries.get(number)
        if entry is None:
            return False
        if not entry.accepted:
            self.accept(entry, started, slot)
        outcome = outcome_from_news(entry.job.id, told)
        self._drop(number)
        self._listener.on_finished(self, entry, outcome, spent)
        return True

    def accept(self, entry: Entry, started: float, slot: int) -> None:
        """A job has started; the listener is told once."""
        entry.started, entry.slot = started, slot
        if not entry.accepted:
            entry.accepted = True
            self._listener.on_accepted(self, entry)

    def _drop(self, number: int) -> Entry:
        """A job is not here any more."""
        entry = self.entries.pop(number)
        if not entry.job.is_report and entry.started:
            self.done += 1
        return entry

    def _look_at_next(self) -> None:
        """A job has gone: the next one is first in the queue."""
        self.moved = self._clock.monotonic()
        if self.entries:
            first = next(iter(self.entries.values()))
            if not first.started and self.slots == 1:
                first.since = self.moved
        elif self.state is HostState.BUSY:
            self.become(HostState.READY)

    def _hung_up(self) -> None:
        """Its end of the pipe is closed: it can say nothing any more, and is to end."""
        if self._pipe.fileno() >= 0:
            self._reactor.forget(self._pipe.fileno())
        self._expect_end("has closed its pipe")

    def _expect_end(self, why: str) -> None:
        """It is to end within ``lost_wait``."""

        def lives_on() -> None:
            log.error("child %d %s and lives on: it is killed (worker_lost_wait)", self.pid, why)
            self.kill()

        if self._overdue is None:
            self._overdue = self._reactor.later(self._lost_wait, lives_on)

    # -- its life (see `Birth`)

    def spawned(self, pid: int) -> None:
        """See `Birth.spawned`."""
        self.pid = pid
        self.progress("booting")
        if self.state is HostState.KILLED:
            self._signal_group()

    def progress(self, words: str) -> None:
        """See `Birth.progress`."""
        self.phase = words
        self.progress_at = self._clock.monotonic()
        if self.state is HostState.SPAWNED:
            self.become(HostState.STARTING)

    def broken(self, why: str) -> None:
        """See `Birth.broken`."""
        self.why_broken = why

    def exited(self, ending: Exit) -> None:
        """See `Birth.exited`. What it has said is read first, from the pipe and from the journal."""
        if self._exit is not None:
            return
        while self._pipe.fileno() >= 0 and self._read():
            pass
        self._exit = ending
        self._last_words = self._read_last_words()
        self._hear(self._unread_journal())
        current = self.entries.get(self.page.current) if self.slots == 1 else None
        if current is not None and not current.started:
            self.accept(current, self.page.started, 0)
        self.become(HostState.REAPED)
        self._listener.on_gone(self, ending)

    def has_started(self, entry: Entry) -> bool:
        """Whether a job of its has started, as far as page and pipe say by now; also where it has ended since."""
        if not self.orders.inner:
            return bool(entry.started) or self.page.current == entry.number
        if not entry.started and not tells_start(self.page.journal, entry.number):
            self._read()  # what is not on the page any more is in the pipe
            return bool(entry.started)
        return True

    def look(self) -> None:
        """Read the journal in place of a child that does not come to it: what runs there holds its interpreter."""
        journal = self.page.journal
        if journal and journal == self._seen:
            self._hear(self._unread_journal())
        self._seen = journal

    def _unread_journal(self) -> list[list[Any]]:
        journal = self.page.journal
        if not journal:
            return []
        try:
            return read_news(b"[" + journal + b"]")
        except KernelBug:
            log.error("the journal of child %d cannot be read; what it has ended is run again", self.pid)
            return []

    def become(self, state: HostState) -> None:
        """Go on to another state.

        Raises:
            KernelBug: that does not follow this one.
        """
        if state is self.state:
            return
        if state not in NEXT[self.state]:
            raise KernelBug(f"child {self.pid} cannot become {state} from {self.state}")
        self.state = state

    # -- signals

    def signal(self, number: int) -> None:
        """Send it a signal; harmless where it has ended."""
        if self.pid and self._exit is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # which is noticed elsewhere

    def kill(self) -> None:
        """End it at once, and whatever it has started. Idempotent."""
        if self._exit is None and self.state is not HostState.KILLED:
            self.become(HostState.KILLED)
            self._signal_group()
            if self._overdue is not None:
                self._overdue.cancel()
            if self._launcher is not None:
                launcher = self._launcher
                self._overdue = self._reactor.later(max(1.0, self._lost_wait), lambda: launcher.overdue(self))

    def _signal_group(self) -> None:
        if not self.pid:
            return  # as soon as it is known
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.signal(signal.SIGKILL)  # it has no group of its own yet

    def last_words(self) -> str:
        """Return what the interpreter wrote when a fatal signal ended it, else where its task was seen last."""
        return self._last_words

    def _read_last_words(self) -> str:
        written = os.pread(self._crash_fd, _CRASH_SIZE, 0).rstrip(b"\0").decode("utf-8", "replace").strip()
        return written or self.page.place
