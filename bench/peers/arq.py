"""arq: coroutines in one process; two workers for two cores; no results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues, slots


def command(setup: Setup) -> list[str]:
    return [f"{setup.bin}/arq", "bench.peers.arq.WorkerSettings"]


PEER = Peer(
    name="arq",
    requires=("arq",),
    modes=(
        Mode(
            name="x2",
            kind="greens",
            command=command,
            why="2 workers, poll_delay 0.01 s instead of 0.5: it polls; keep_result 0",
            cases=frozenset({"noop-redis", "io", "latency", "startup", "memory"}),
            copies=2,
        ),
    ),
    left_out={
        "cpu": "its workers run coroutines; work that uses the CPU is not what they are for",
        "noop-rabbitmq": "has no RabbitMQ broker",
        "noop-sqlite": "has no embedded broker",
    },
)

if inside("arq"):
    from typing import Any

    from arq import create_pool, func
    from arq.connections import RedisSettings

    from bench import work

    async def noop(_: Any) -> None:
        work.noop()

    async def io(_: Any) -> None:
        await work.io_async()

    async def stamp(_: Any, sent: int) -> None:
        work.stamp(sent)

    class WorkerSettings:
        functions = [func(noop, name="noop"), func(io, name="io"), func(stamp, name="stamp")]  # noqa: RUF012
        redis_settings = RedisSettings.from_dsn(broker())
        queue_name = queues()[0]
        max_jobs = max(1, slots() // 2)
        poll_delay = 0.01
        keep_result = 0

    async def send_all(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        pool = await create_pool(RedisSettings.from_dsn(broker()), default_queue_name=queues()[0])
        for given in arguments:
            await pool.enqueue_job(task, *given)
        await pool.aclose()

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        asyncio.run(send_all(task, arguments))
