"""Workers put together by hand: a recorded pool, a scripted application, steps that write down what happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from worker_kernel import (
    Application,
    BlueprintName,
    BrokerInfo,
    CancelHow,
    CancelReply,
    Capabilities,
    Job,
    LoopSpec,
    Platform,
    Plugins,
    Pool,
    PoolConfig,
    PoolSpec,
    PoolStatistics,
    Settings,
    Source,
    Step,
    StepContext,
    StepSpec,
    Support,
    TaskOptions,
    Value,
    Worker,
)
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.kernelsteps import POOL_STEP
from worker_kernel.plugins.declarations import Declared
from worker_kernel.settings import Layer

LINUX = Platform(name="linux", cpus=2, stop_signals={"SIGTERM": "warm", "SIGQUIT": "cold", "SIGINT": "interrupt"})


class RecordedPool(Pool):
    """A fake pool that writes down each call of its life."""

    capabilities = Capabilities(concurrency=Support.NATIVE)

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self.calls: list[str] = []
        self.drains = True

    def start(self) -> None:
        self.calls.append("start")

    def submit(self, job: Job) -> None:
        self.calls.append("submit")

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        return CancelReply.UNKNOWN

    def close(self) -> None:
        self.calls.append("close")

    def stop(self, timeout: float | None) -> bool:
        self.calls.append(f"stop {timeout}")
        return self.drains

    def terminate(self) -> None:
        self.calls.append("terminate")

    def register_with_event_loop(self, hub: Any) -> None:
        self.calls.append(f"register with {hub}")

    def statistics(self) -> PoolStatistics:
        limit = self.config.limit
        return PoolStatistics(
            implementation="t:P", limit=limit, size=limit, running=0, free=limit, queued=0, zombies=0, done=0, failed=0
        )


class MainThreadPool(RecordedPool):
    """Has the main thread until it is stopped."""

    capabilities = Capabilities(runs_in_main_thread=True)

    def __init__(self, config: PoolConfig) -> None:
        import threading

        super().__init__(config)
        self.released = threading.Event()

    def serve(self) -> None:
        self.calls.append("serve")
        assert self.released.wait(30)

    def stop(self, timeout: float | None) -> bool:
        self.released.set()
        return super().stop(timeout)


class ScriptedApplication:
    name = "scripted"
    origin = None

    def __init__(self, *, asynchronous: bool = True) -> None:
        self.asynchronous = asynchronous
        self.calls: list[str] = []

    def declared_settings(self) -> Mapping[str, object]:
        return {}

    def configure(self, settings: Settings, plugins: Plugins, *, join_blocks: bool = True) -> None:
        self.calls.append(f"configure join_blocks={join_blocks}")

    def tasks(self) -> Mapping[str, TaskOptions]:
        return {}

    def broker(self) -> BrokerInfo:
        return BrokerInfo(url="fake://", driver="fake", asynchronous=self.asynchronous)

    def preload(self) -> None:
        self.calls.append("preload")

    def check_result_store(self) -> None:
        self.calls.append("check result store")

    def close(self) -> None:
        self.calls.append("close")


class Scene:
    """What the steps and the consumer of one worker do, and did."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.consume: Callable[[Worker], None] = lambda worker: None

    def worker(
        self,
        *,
        pool: type[RecordedPool] = RecordedPool,
        asynchronous: bool = True,
        platform: Platform = LINUX,
        extra: tuple[StepSpec, ...] = (),
        hub: bool = True,
        sole: bool = False,
        **settings: object,
    ) -> Worker:
        scene = self
        module = ModuleType("scene_of_a_worker_test")

        class HubStep(Step):
            def enabled(self, worker: Worker) -> bool:
                return worker.use_event_loop

            def create(self, ctx: StepContext) -> object:
                return "the hub"

        class TimerStep(Step):
            def create(self, ctx: StepContext) -> object:
                return SimpleNamespace(next_due=lambda: None)

        class ConsumerStep(Step):
            def create(self, ctx: StepContext) -> object:
                worker = ctx.worker
                wake = lambda: scene.seen.append("wake")  # noqa: E731
                return SimpleNamespace(run=lambda: scene.consume(worker), wake=wake)

        for cls in (HubStep, TimerStep, ConsumerStep, pool):
            setattr(module, cls.__name__, cls)
        module.__dict__["asynloop"] = module.__dict__["synloop"] = None
        sys.modules[module.__name__] = module
        at = f"{module.__name__}:"
        worker_steps = BlueprintName.WORKER
        steps = [
            StepSpec(name="timer", blueprint=worker_steps, factory=at + "TimerStep", owner="t"),
            StepSpec(
                name="consumer",
                blueprint=worker_steps,
                factory=at + "ConsumerStep",
                requires=("pool",),
                last=True,
                owner="t",
            ),
            *extra,
        ]
        if hub:
            steps.append(
                StepSpec(name="hub", blueprint=worker_steps, factory=at + "HubStep", requires=("timer",), owner="t")
            )
        declared = Declared(
            steps=(POOL_STEP, *steps),
            loops=(
                LoopSpec(name="asynloop", factory=at + "asynloop", asynchronous=True),
                LoopSpec(name="synloop", factory=at + "synloop", asynchronous=False),
            ),
        )
        source = Source(layer=Layer.DEFAULT)
        values = {setting.name: Value(value=setting.default, source=source) for setting in CORE_SETTINGS}
        values |= {name: Value(value=value, source=source) for name, value in settings.items()}
        return Worker(
            cast("Application", ScriptedApplication(asynchronous=asynchronous)),
            Settings({setting.name: setting for setting in CORE_SETTINGS}, values),
            Plugins(declared=[declared]),
            pool=PoolSpec(name="recorded", cls=at + pool.__name__, capabilities=pool.capabilities),
            platform=platform,
            sole=sole,
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def main_thread_pool() -> type[RecordedPool]:
    return MainThreadPool
