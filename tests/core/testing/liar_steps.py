"""Steps with one lie each. ``caught_by`` is the one promise of the contract that must break, and no other."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from typing import IO, ClassVar, cast
from weakref import WeakKeyDictionary

from worker_kernel import BlueprintName, Step, StepContext, TimerHandle, Timers, Worker


def open_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


class Component:
    """What the steps here hand over."""


class Plain(Step):
    """No liar: has a thread, a file and a timer from start to stop."""

    blueprint: ClassVar[BlueprintName] = BlueprintName.WORKER
    name: ClassVar[str] = "acme-probe.liar"
    caught_by: ClassVar[str] = ""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.closed = False
        self.thread: threading.Thread | None = None
        self.file: IO[bytes] | None = None
        self.handle: TimerHandle | None = None

    def create(self, ctx: StepContext) -> object:
        self.worker: Worker = ctx.worker
        return Component()

    @property
    def timers(self) -> Timers:
        return cast("Timers", self.worker.blueprint.component("timer"))

    def start(self) -> None:
        try:
            self.take()
        except BaseException:
            self.release()
            raise

    def take(self) -> None:
        thread = threading.Thread(target=self.over.wait)
        thread.start()
        self.thread = thread
        self.file = open_file()
        self.handle = self.timers.call_repeatedly(60.0, time.time)

    def release(self) -> None:
        self.over.set()
        if self.thread is not None:
            self.thread.join()
        if self.file is not None:
            self.file.close()
        if self.handle is not None:
            self.handle.cancel()

    def close(self) -> None:
        self.closed = True

    def stop(self) -> None:
        self.release()

    def info(self) -> Mapping[str, object]:
        return {"closed": self.closed}


class PlainConsumer(Plain):
    """No liar: the same in the blueprint of the consumer."""

    blueprint = BlueprintName.CONSUMER


class TakesAnothersName(Plain):
    """Is named after a distribution that is not its own."""

    name = "another.liar"
    caught_by = "test_its_name_is_reserved_or_begins_with_its_distribution"


class ActsWhenItIsBuilt(Plain):
    """Has a thread from the moment it is built until it is created."""

    caught_by = "test_building_it_has_no_effect"

    def __init__(self) -> None:
        super().__init__()
        self.early = threading.Event()
        threading.Thread(target=self.early.wait, args=(2.0,), name="early").start()

    def create(self, ctx: StepContext) -> object:
        self.early.set()
        return super().create(ctx)


class ChangesItsMind(Plain):
    """Takes part when it is asked first, and not when it is asked again."""

    caught_by = "test_it_answers_the_same_whenever_it_is_asked_whether_it_takes_part"
    asked = 0

    def enabled(self, worker: Worker) -> bool:
        self.asked += 1
        return self.asked == 1


class OpensWhenItIsCreated(Plain):
    """Opens a file in create that only start closes, and keeps it where it stays for ever."""

    caught_by = "test_create_takes_nothing_that_only_stop_would_release"
    kept: ClassVar[list[IO[bytes]]] = []

    def create(self, ctx: StepContext) -> object:
        self.kept.append(open_file())
        return super().create(ctx)

    def start(self) -> None:
        self.kept.pop().close()
        super().start()


class BlocksInStart(Plain):
    """Comes back from start when it pleases, except where a test would take too long."""

    caught_by = "test_start_does_not_block"

    def start(self) -> None:
        super().start()
        if threading.current_thread() is not threading.main_thread():
            time.sleep(1.0)


class TellsWhatJsonHasNot(Plain):
    """Has an object in its info once it is closed."""

    caught_by = "test_info_fits_into_json_at_every_moment"

    def info(self) -> Mapping[str, object]:
        return {"over": self.over} if self.closed else {}


class KeepsATimerWhenTerminated(Plain):
    """Forgets its timer where it is terminated without having been closed."""

    caught_by = "test_it_leaves_nothing_behind"

    def terminate(self) -> None:
        if not self.closed:
            self.handle = None
        self.release()


class RaisesWhenTerminated(Plain):
    """Raises in terminate, though everything is released."""

    caught_by = "test_it_raises_nothing_when_it_ends"

    def terminate(self) -> None:
        self.release()
        raise RuntimeError("not in this state")


class LeavesAThreadWhereItCannotStart(Plain):
    """Does not tidy up after a start that failed half-way."""

    caught_by = "test_a_failed_start_leaves_nothing_behind"

    def start(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.over.wait, args=(2.0,))
        self.thread.start()
        self.handle = self.timers.call_repeatedly(60.0, time.time)


class ReliesOnAWholeBoot(Plain):
    """Cancels its timer only where every step has started."""

    caught_by = "test_it_is_stopped_where_a_later_step_fails_to_start"

    def stop(self) -> None:
        if ("start", "kit.fails") in self.worker.blueprint.recorded:
            self.handle = None
        self.release()


class InheritsFromItsPredecessor(Plain):
    """Hands the component of a worker that has stopped to the next one."""

    caught_by = "test_one_life_knows_nothing_of_the_one_before"
    estate: ClassVar[list[object]] = []
    component: object = None

    def create(self, ctx: StepContext) -> object:
        super().create(ctx)
        self.component = self.estate.pop() if self.estate else Component()
        return self.component

    def stop(self) -> None:
        super().stop()
        self.estate.append(self.component)


class SharesItsComponent(Plain):
    """Has one component for all workers that live at a time."""

    caught_by = "test_two_workers_live_side_by_side"
    shared: ClassVar[list[object]] = []

    def create(self, ctx: StepContext) -> object:
        super().create(ctx)
        if not self.shared:
            self.shared.append(Component())
        return self.shared[0]

    def stop(self) -> None:
        super().stop()
        self.shared.clear()


class OutlivesItsConnection(PlainConsumer):
    """Has one component for all connections of a worker."""

    caught_by = "test_it_is_made_anew_when_the_connection_is_lost"
    kept: ClassVar[WeakKeyDictionary[Worker, object]] = WeakKeyDictionary()

    def create(self, ctx: StepContext) -> object:
        super().create(ctx)
        return self.kept.setdefault(ctx.worker, Component())
