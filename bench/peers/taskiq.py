"""taskiq: coroutines in two processes; messages are not checked against types, and no results are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from bench.peers import MODE, Mode, Peer, Setup, broker, inside, queues


def worker(*options: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        spread = ["--workers", "2", "--max-async-tasks", str(max(100, setup.slots // 2))]
        quiet = ["--no-parse", "--log-level", "ERROR"]
        return [f"{setup.bin}/taskiq", "worker", "bench.peers.taskiq:taskiq_broker", *spread, *quiet, *options]

    return command


WHY = "2 workers, --no-parse, orjson, uvloop: what its documentation has on speed"
PEER = Peer(
    name="taskiq",
    requires=("taskiq", "taskiq-redis", "taskiq-aio-pika", "uvloop", "orjson", "hiredis"),
    modes=(
        Mode(
            name="list",
            kind="greens",
            command=worker(),
            why=f"{WHY}; Redis lists: at most once; --max-async-tasks 100 each, its default",
            cases=frozenset({"noop-redis", "io", "latency", "startup", "memory"}),
            environment={MODE: "list"},
        ),
        Mode(
            name="stream",
            kind="greens",
            command=worker(),
            why=f"{WHY}; Redis streams: acknowledged after the run",
            cases=frozenset({"noop-redis", "io"}),
            environment={MODE: "stream"},
        ),
        Mode(
            name="aio-pika",
            kind="greens",
            command=worker(),
            why=f"{WHY}; prefetch (qos) of 100, one for each coroutine",
            cases=frozenset({"noop-rabbitmq"}),
            brokers=frozenset({"rabbitmq"}),
            environment={MODE: "aio-pika"},
        ),
    ),
    left_out={
        "cpu": "its workers run coroutines; work that uses the CPU is not what they are for",
        "noop-sqlite": "has no embedded broker",
    },
)

if inside("taskiq"):
    import os

    from taskiq import AsyncBroker
    from taskiq.serializers import ORJSONSerializer
    from taskiq_aio_pika import AioPikaBroker
    from taskiq_redis import ListQueueBroker, RedisStreamBroker

    from bench import work

    def made() -> AsyncBroker:
        mode, name = os.environ[MODE], queues()[0]
        if mode == "list":
            return ListQueueBroker(broker(), queue_name=name)
        if mode == "stream":
            return RedisStreamBroker(broker(), queue_name=name, consumer_id="0")
        return AioPikaBroker(broker(), qos=100)

    taskiq_broker = made().with_serializer(ORJSONSerializer())

    async def noop() -> None:
        work.noop()

    async def stamp(sent: int) -> None:
        work.stamp(sent)

    functions = {"noop": noop, "io": work.io_async, "stamp": stamp}
    tasks = {name: taskiq_broker.task(task_name=name)(function) for name, function in functions.items()}

    async def send_all(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        await taskiq_broker.startup()
        called = tasks[task]
        for given in arguments:
            await called.kiq(*given)
        await taskiq_broker.shutdown()

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        asyncio.run(send_all(task, arguments))
