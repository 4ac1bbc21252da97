"""The step ``pool`` and its creation flow, over a fake pool."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from typing import Any

import attrs
import pytest
from tests.core.worker.conftest import RecordedPool

from worker_kernel import BlueprintName, KernelError, Platform, PoolConfig, StepFailed

WINDOWS = Platform(name="win32", cpus=4, stop_signals={"SIGTERM": "warm", "SIGINT": "interrupt"})


def created(worker: Any) -> Any:
    worker.blueprint.create()
    return worker.blueprint.component("pool")


def test_on_an_event_loop_the_pool_is_not_threaded_and_slots_come_from_the_kernels_own_count(scene: Any) -> None:
    worker = scene.worker(worker_concurrency=3, worker_pool_putlocks=True)
    config = created(worker).config
    assert (config.threaded, config.putlocks, config.max_restarts, config.limit) == (False, False, 100, 3)
    assert worker.slots.take() is not None
    assert config.semaphore() == 2
    assert isinstance(worker.slots._lock, nullcontext), "only the hub's thread uses it"


@pytest.mark.parametrize("why", [{"asynchronous": False}, {"platform": WINDOWS}, {"hub": False}])
def test_without_an_event_loop_or_on_windows_the_pool_is_threaded(scene: Any, why: dict[str, Any]) -> None:
    worker = scene.worker(worker_pool_putlocks=True, **why)
    config = created(worker).config
    assert (config.threaded, config.putlocks, config.max_restarts, config.semaphore) == (True, True, None, None)
    assert worker.loop_spec.name == "synloop"
    assert not isinstance(worker.slots._lock, nullcontext)


def test_putlocks_are_off_when_they_are_not_wanted(scene: Any) -> None:
    assert not created(scene.worker(asynchronous=False, worker_pool_putlocks=False)).config.putlocks


def test_the_settings_reach_the_pool_in_its_units(scene: Any) -> None:
    config = created(
        scene.worker(
            task_time_limit=9.0,
            task_soft_time_limit=8.0,
            worker_max_tasks_per_child=7,
            worker_max_memory_per_child=6,
            worker_lost_wait=5.0,
            worker_pool_restarts=True,
            worker_zombie_budget=4,
            worker_limit_grace=3.0,
            worker_hostname="w@%n",
        )
    ).config
    assert (config.time_limit, config.soft_time_limit) == (9.0, 8.0)
    assert (config.max_tasks_per_child, config.max_memory_per_child) == (7, 6 * 1024)
    assert (config.lost_wait, config.allow_restart) == (5.0, True)
    assert (config.zombie_budget, config.limit_grace) == (4, 3.0)
    assert config.node_name.startswith("w@")


def test_the_step_takes_the_pool_through_its_life(scene: Any) -> None:
    worker = scene.worker()
    pool = created(worker)
    worker.blueprint.start()
    assert pool.calls == ["start", "register with the hub"]
    assert worker.blueprint.info()["pool"] == attrs.asdict(pool.statistics())
    worker.blueprint.close()
    worker.blueprint.stop()
    assert pool.calls[2:] == ["close", "stop 0.0"]


def test_a_pool_that_does_not_drain_is_terminated(scene: Any) -> None:
    worker = scene.worker()
    pool = created(worker)
    pool.drains = False
    worker.blueprint.start()
    worker.blueprint.stop()
    assert pool.calls[-2:] == ["stop 0.0", "terminate"]


def test_terminate_ends_it_at_once(scene: Any) -> None:
    worker = scene.worker(asynchronous=False)
    pool = created(worker)
    worker.blueprint.start()
    worker.blueprint.terminate()
    assert pool.calls == ["start", "terminate"]


def test_a_class_that_is_no_pool_is_named(scene: Any) -> None:
    worker = scene.worker()
    worker.pool_spec = attrs.evolve(worker.pool_spec, cls="collections:OrderedDict")
    with pytest.raises(StepFailed, match="collections:OrderedDict"):
        worker.blueprint.create()


def test_the_pool_starts_after_the_hub(scene: Any) -> None:
    worker = scene.worker()
    assert worker.blueprint.name is BlueprintName.WORKER
    assert worker.blueprint.order == ("timer", "hub", "pool", "consumer")


def test_errors_of_the_pools_start_are_errors_of_the_step(scene: Any) -> None:
    worker = scene.worker()
    pool = created(worker)
    pool.start = lambda: (_ for _ in ()).throw(OSError("no threads left"))
    with pytest.raises(KernelError, match="step 'pool' of worker-kernel failed to start: OSError: no threads left"):
        worker.blueprint.start()


class AheadPool(RecordedPool):
    """Notes what the application had been asked for when it got ahead."""

    @classmethod
    def get_ahead(cls, config: PoolConfig) -> object:
        return list(config.app.calls), config.limit  # type: ignore[union-attr]  # the scripted one


def test_in_a_process_of_its_own_the_pool_gets_ahead_before_anything_is_opened(scene: Any) -> None:
    worker = scene.worker(pool=AheadPool, sole=True, worker_concurrency=3)
    known = []
    scene.consume = lambda worker: known.append(worker.blueprint.component("pool").config.ahead)
    enabled = gc.isenabled()
    gc.disable()
    try:
        worker.run()
        assert gc.isenabled(), "once all has been started, the collector is on"
    finally:
        gc.unfreeze()
        (gc.enable if enabled else gc.disable)()
    (calls, limit), *_ = known
    assert (calls, limit) == (["configure join_blocks=True", "preload"], 3)
    assert "check result store" in worker.app.calls


def test_in_another_programs_process_the_pool_does_not_get_ahead(scene: Any) -> None:
    worker = scene.worker(pool=AheadPool)
    enabled = gc.isenabled()
    gc.disable()
    try:
        worker.run()
        assert not gc.isenabled(), "the collector is that program's own"
    finally:
        (gc.enable if enabled else gc.disable)()
    assert worker.blueprint.component("pool").config.ahead is None
    assert "preload" not in worker.app.calls
