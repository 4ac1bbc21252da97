"""The conformance kit for loops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from .recording import PATIENCE


@attrs.define(eq=False)
class ScriptedDrive:
    """A `worker_kernel.Drive` that ends after a number of turns and writes down what the loop does with it."""

    turns: int
    """After how many turns `pending` is false."""
    wait: float = 0.0
    """What `timeout` answers."""
    raising: BaseException | None = None
    """Raised by the second turn."""
    done: list[str] = attrs.field(factory=list)
    """The names of what was called, in order."""
    threads: set[int] = attrs.field(factory=set)
    """In which threads."""
    waits: list[float | None] = attrs.field(factory=list)
    """How long the loop blocked at the most, each time."""

    def pending(self) -> bool:
        """See `worker_kernel.Drive.pending`."""
        return self.done.count("turn") < self.turns

    def turn(self) -> None:
        """See `worker_kernel.Drive.turn`."""
        self._note("turn")
        if self.raising is not None and self.done.count("turn") == 2:
            raise self.raising

    def drain(self, timeout: float) -> None:
        """See `worker_kernel.Drive.drain`."""
        self._note("drain")
        self.waits.append(timeout)

    def timeout(self) -> float:
        """See `worker_kernel.Drive.timeout`."""
        return self.wait

    def run_once(self, timeout: float | None = None) -> None:
        """Stand for the hub's turn."""
        self._note("run_once")
        self.waits.append(timeout)

    def _note(self, what: str) -> None:
        self.done.append(what)
        self.threads.add(threading.get_ident())


class LoopContract:
    """Every promise of a loop, as tests for pytest.

    ::

        class TestMyLoop(LoopContract):
            asynchronous = True

            def make_loop(self):
                return my_loop
    """

    asynchronous: bool
    """As in the loop's `worker_kernel.LoopSpec`: whether it blocks in the hub, or else in ``drive.drain``."""

    def make_loop(self) -> Callable[[Any, Any], None]:
        """Return the loop: what is called as ``loop(drive, hub)``."""
        raise NotImplementedError("a LoopContract needs make_loop()")

    def test_it_returns_at_once_when_nothing_is_pending(self) -> None:
        assert self._run(ScriptedDrive(turns=0)).done == []

    def test_it_takes_turns_until_nothing_is_pending(self) -> None:
        assert self._run(ScriptedDrive(turns=5)).done.count("turn") == 5

    def test_it_lets_the_transport_speak_between_turns(self) -> None:
        done = self._run(ScriptedDrive(turns=4)).done
        blocks = "run_once" if self.asynchronous else "drain"
        assert done[:7] == ["turn", blocks, "turn", blocks, "turn", blocks, "turn"]

    def test_it_blocks_in_one_place_only(self) -> None:
        done = self._run(ScriptedDrive(turns=4)).done
        assert ("drain" if self.asynchronous else "run_once") not in done

    @pytest.mark.parametrize("wait", [0.0, 0.25, 3.0])
    def test_it_blocks_no_longer_than_the_drive_allows(self, wait: float) -> None:
        waits = self._run(ScriptedDrive(turns=3, wait=wait)).waits
        assert waits
        assert all(seconds is not None and seconds <= wait for seconds in waits)

    def test_a_raising_turn_ends_it(self) -> None:
        error = ConnectionError("the connection is lost")
        drive = ScriptedDrive(turns=9, raising=error)
        with pytest.raises(ConnectionError) as caught:
            self._run(drive)
        assert caught.value is error
        assert drive.done.count("turn") == 2

    def test_everything_happens_on_the_thread_that_calls_it(self) -> None:
        assert self._run(ScriptedDrive(turns=3)).threads == {threading.get_ident()}

    def test_it_leaves_no_thread(self) -> None:
        before = set(threading.enumerate())
        self._run(ScriptedDrive(turns=2))
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)
        assert set(threading.enumerate()) <= before

    def _run(self, drive: ScriptedDrive) -> ScriptedDrive:
        self.make_loop()(drive, drive)
        return drive
