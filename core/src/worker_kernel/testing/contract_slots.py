"""What every pool promises about its slots: they add up, start and end in pairs, grow, shrink and are replaced."""

from __future__ import annotations

import json
import os
import threading
import time

import attrs
import pytest

from ..errors import Unsupported
from ..outcome import OutcomeKind
from .bench import Bench, PoolMaker, load_pool, on_pool, with_bench
from .recording import never


class SlotPromises(PoolMaker):
    """The part of `PoolContract` about slots."""

    @on_pool(slots=3)
    def test_statistics_add_up_at_every_moment(self, bench: Bench) -> None:
        wrong: list[str] = []
        over = threading.Event()

        def look() -> None:
            seen = bench.pool.statistics()
            adds_up = seen.size == seen.running + seen.free == len(seen.slots)
            if not adds_up or min(seen.running, seen.free, seen.queued) < 0:
                wrong.append(str(seen))

        def watch() -> None:
            while not over.is_set():
                look()
                time.sleep(0)  # on a green pool, the others run now

        look()
        jobs = bench.hold(bench.slots)
        look()
        jobs += [bench.submit() for _ in range(3)]
        look()
        bench.finish(*jobs)
        watcher = threading.Thread(target=watch, name="statistics-watcher")
        watcher.start()
        try:
            for job in [bench.submit(raises={"call": SystemExit()} if n % 5 == 0 else None) for n in range(200)]:
                bench.outcome(job)
        finally:
            over.set()
            watcher.join()
        assert not wrong, f"size is not running + free: {wrong[0]}"

    @on_pool(slots=2)
    def test_statistics_say_who_runs_where(self, bench: Bench) -> None:
        (held, *_) = bench.hold()
        seen = bench.statistics_become(running=1)
        busy = [slot for slot in seen.slots if slot.state == "running"]
        assert [(slot.job_id, slot.task) for slot in busy] == [(held.id, held.task)]
        assert busy[0].since is not None
        idle = [slot for slot in seen.slots if slot.state == "free"]
        assert len(idle) == seen.free
        assert all(slot.job_id is None and slot.since is None for slot in idle)

    @on_pool()
    def test_statistics_count_what_waits(self, bench: Bench) -> None:
        (held,) = bench.hold()
        waiting = [bench.submit() for _ in range(3)]
        bench.statistics_become(queued=3, running=1)
        bench.finish(held, *waiting)
        bench.statistics_become(queued=0, running=0)

    @on_pool()
    def test_the_backlog_that_it_likes_is_a_number_and_smaller_for_longer_runs(self, bench: Bench) -> None:
        likes = [bench.pool.backlog(runtime) for runtime in (0.0, 0.001, 0.1, 60.0)]
        assert all(type(one) is int and one >= 0 for one in likes)
        assert likes == sorted(likes, reverse=True)

    @on_pool()
    def test_statistics_count_what_was_done_and_what_failed(self, bench: Bench) -> None:
        for script in ({}, {"raises": {"call": ValueError()}}, {"raises": {"call": SystemExit()}}, {}):
            bench.outcome(bench.submit(**script))
        bench.statistics_become(done=4, failed=2)

    @on_pool(slots=2)
    def test_statistics_have_one_shape_and_fit_into_json(self, bench: Bench) -> None:
        bench.hold()
        seen = bench.pool.statistics()
        record = attrs.asdict(seen)
        assert json.loads(json.dumps(record)) == record | {"slots": [dict(slot) for slot in record["slots"]]}
        cls = load_pool(self.pool_path)
        assert seen.implementation == f"{cls.__module__}:{cls.__qualname__}"
        assert seen.limit == bench.slots
        assert {slot.state for slot in seen.slots} <= {"free", "running", "zombie"}

    @on_pool(slots=2)
    def test_a_slot_is_free_when_its_job_is_told_finished(self, bench: Bench) -> None:
        free_then: list[int] = []
        told = bench.listener.finished

        def look(job: object, outcome: object) -> None:
            free_then.append(bench.pool.statistics().free)
            told(job, outcome)  # type: ignore[arg-type]  # handed on as it came

        bench.listener.finished = look  # type: ignore[method-assign]  # the point of the test
        bench.outcome(bench.submit())
        assert free_then == [bench.slots]

    @pytest.mark.parametrize("ending", ["stop", "terminate"])
    def test_slot_start_and_slot_end_come_in_pairs(self, ending: str) -> None:
        """For pools whose slots are in this process: no closure reaches another one, which has hooks of its own.

        A pool that runs jobs elsewhere tests by itself that the hooks are called there.
        """
        if self.capabilities.runs_elsewhere:
            return
        noted: list[tuple[str, int, int]] = []
        threads: set[int] = set()

        def scenario(bench: Bench) -> None:
            jobs = [bench.submit(raises={"call": SystemExit()} if n % 2 else None) for n in range(8)]
            for job in jobs:
                bench.outcome(job)
            threads.update(job.threads["call"] for job in jobs)
            if ending == "stop":
                assert bench.pool.stop(bench.patience)
            else:
                bench.pool.terminate()
            bench.eventually(
                lambda: [n[0] for n in noted].count("start") == [n[0] for n in noted].count("end"), "each slot ended"
            )

        with_bench(
            self,
            scenario,
            slots=2,
            slot_start=lambda index: noted.append(("start", index, threading.get_ident())),
            slot_end=lambda index: noted.append(("end", index, threading.get_ident())),
        )
        starts = [(index, thread) for what, index, thread in noted if what == "start"]
        ends = [(index, thread) for what, index, thread in noted if what == "end"]
        assert starts, "no slot was started"
        assert sorted(starts) == sorted(ends), "each slot ends in the thread in which it started"
        assert threads <= {thread for _, thread in starts}, "jobs run in a slot's own thread"

    @on_pool()
    def test_grow_adds_slots_at_once(self, bench: Bench) -> None:
        if not self.supports("resize"):
            with pytest.raises(Unsupported):
                bench.pool.grow(1)
            bench.statistics_become(size=1, limit=1)
            return
        bench.hold()
        waiting = [bench.submit(held=True) for _ in range(2)]
        bench.pool.grow(2)
        for job in waiting:
            bench.wait_started(job)
        bench.statistics_become(size=3, limit=3, running=3)
        assert bench.listener.sizes()[-1:] == (3,)

    @on_pool(slots=3)
    def test_shrink_takes_free_slots(self, bench: Bench) -> None:
        if not self.supports("resize"):
            with pytest.raises(Unsupported):
                bench.pool.shrink(1)
            bench.statistics_become(size=bench.slots, limit=bench.slots)
            return
        bench.pool.shrink(2)
        bench.statistics_become(size=1, limit=1, free=1)
        bench.eventually(lambda: bench.listener.sizes()[-1:] == (1,), "the new size is told")
        bench.still_works()

    @on_pool(slots=2)
    def test_shrink_never_ends_a_busy_slot(self, bench: Bench) -> None:
        if not self.supports("resize"):
            return
        first, second = bench.hold(2)
        bench.pool.shrink(1)
        never(
            lambda: bool(
                first.finishing.is_set() or second.finishing.is_set() or len(bench.listener.outcomes(first.id))
            ),
            "shrink ends a job that runs",
        )
        assert bench.pool.statistics().running == 2
        bench.finish(first)
        bench.statistics_become(size=1, running=1)
        bench.finish(second)
        assert {bench.outcome(job).kind for job in (first, second)} == {OutcomeKind.SUCCEEDED}

    @on_pool(slots=2)
    def test_a_slot_that_is_to_go_takes_no_other_job(self, bench: Bench) -> None:
        if not self.supports("resize"):
            return
        first, second = bench.hold(2)
        waiting = bench.submit(held=True)
        bench.pool.shrink(1)
        bench.finish(first)
        never(
            lambda: waiting.started.is_set() and not second.finishing.is_set(),
            "a slot that was taken away takes another job",
        )
        bench.finish(second)
        bench.wait_started(waiting)

    @on_pool(slots=2)
    def test_one_slot_always_stays(self, bench: Bench) -> None:
        if not self.supports("resize"):
            return
        with pytest.raises(ValueError, match=r"\S"):
            bench.pool.shrink(2)
        bench.statistics_become(size=2, limit=2)
        bench.still_works()

    @on_pool(slots=2, allow_restart=True)
    def test_restart_replaces_each_slot_once_its_job_has_ended(self, bench: Bench) -> None:
        if not self.supports("restart"):
            with pytest.raises(Unsupported):
                bench.pool.restart()
            bench.still_works()
            return
        held, *_ = bench.hold(1)
        bench.pool.restart()
        never(held.finishing.is_set, "restart ends a job that runs")
        bench.finish(held)
        bench.statistics_become(size=2, free=2)
        # A pool may warm the new slot before it lets the old one go.
        bench.eventually(lambda: sum(bench.pool.statistics().recycled.values()) >= 2, "two slots are replaced")
        seen = bench.statistics_become(size=2, free=2)
        assert sum(seen.recycled.values()) == 2, seen.recycled
        bench.still_works()

    @on_pool()
    def test_restart_needs_the_configuration_s_leave(self, bench: Bench) -> None:
        with pytest.raises(Unsupported):
            bench.pool.restart()

    @on_pool(slots=1, max_tasks_per_child=2)
    def test_a_slot_is_replaced_after_its_number_of_runs(self, bench: Bench) -> None:
        for _ in range(7):  # one after the other: what waits behind a job may be moved to another slot
            assert bench.outcome(bench.submit()).kind is OutcomeKind.SUCCEEDED
        replaced = 3 if self.supports("max_tasks_per_child") else 0
        seen = bench.statistics_become(size=1, running=0)
        assert seen.recycled.get("max_tasks_per_child", 0) == replaced
        bench.still_works()

    @on_pool(slots=1, max_tasks_per_child=1)
    def test_a_report_does_not_use_up_a_slot(self, bench: Bench) -> None:
        for _ in range(3):
            bench.outcome(bench.submit(is_report=True))
        assert not bench.statistics_become(running=0).recycled

    def test_no_thread_is_left_after_stop(self) -> None:
        before = _threads()

        def scenario(bench: Bench) -> None:
            bench.outcome(bench.submit())
            mine = {threading.current_thread()}
            assert bench.pool.stop(bench.patience)
            bench.eventually(lambda: _threads() <= before | mine, "the pool's threads have ended")

        with_bench(self, scenario, slots=2)

    @on_pool()
    def test_the_pid_is_a_live_process(self, bench: Bench) -> None:
        (slot,) = bench.pool.statistics().slots
        if not self.capabilities.process_isolation:
            assert slot.pid == os.getpid()
        else:
            os.kill(slot.pid, 0)
            assert (slot.pid != os.getpid()) is self.capabilities.runs_elsewhere


def _threads() -> set[threading.Thread]:
    """Return the threads there are, but for the kit's own."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("kit-")}
