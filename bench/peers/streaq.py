"""streaQ: coroutines in two processes, on Redis streams; no results."""

from __future__ import annotations

from collections.abc import Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues, slots


def command(setup: Setup) -> list[str]:
    return [f"{setup.bin}/streaq", "run", "bench.peers.streaq:worker", "--workers", "2"]


PEER = Peer(
    name="streaq",
    requires=("streaq", "uvloop"),
    modes=(
        Mode(
            name="x2",
            kind="greens",
            command=command,
            why="2 workers, uvloop, silent tasks, no results (ttl 0)",
            cases=frozenset({"noop-redis", "io", "latency", "startup", "memory"}),
        ),
    ),
    left_out={
        "cpu": "its workers run coroutines; work that uses the CPU is not what they are for",
        "noop-rabbitmq": "has no RabbitMQ broker",
        "noop-sqlite": "has no embedded broker",
    },
)

if inside("streaq"):
    import anyio
    from streaq import Worker

    from bench import work

    worker = Worker(
        redis_url=broker(),
        queue_name=queues()[0],
        concurrency=max(1, slots() // 2),
        anyio_kwargs={"use_uvloop": True},
    )

    async def noop() -> None:
        work.noop()

    async def io() -> None:
        await work.io_async()

    async def stamp(sent: int) -> None:
        work.stamp(sent)

    functions = {"noop": noop, "io": io, "stamp": stamp}
    tasks = {name: worker.task(name=name, silent=True, ttl=0)(one) for name, one in functions.items()}

    BATCH = 100  # sent in one pipeline, its way to send many

    async def send_all(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called, batch = tasks[task], []
        async with worker:
            for given in arguments:
                batch.append(called.enqueue(*given))
                if given or len(batch) == BATCH:  # what has arguments is timed: it is sent at once
                    await worker.enqueue_many(batch)
                    batch = []
            if batch:
                await worker.enqueue_many(batch)

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        anyio.run(send_all, task, arguments)
