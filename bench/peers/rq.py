"""RQ: one task at a time in each worker."""

from __future__ import annotations

from collections.abc import Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues


def command(setup: Setup) -> list[str]:
    options = ["--num-workers", str(setup.slots), "--worker-class", "rq.worker.SimpleWorker"]
    where = ["--url", setup.broker, "--logging-level", "ERROR", "--quiet"]
    return [f"{setup.bin}/rq", "worker-pool", *options, *where, *setup.queues]


PEER = Peer(
    name="rq",
    requires=("rq", "hiredis"),
    modes=(
        Mode(
            name="pool",
            kind="processes",
            command=command,
            why="SimpleWorker, which does not fork for each task; no results kept",
            cases=frozenset({"noop-redis", "cpu", "latency", "startup", "memory"}),
        ),
    ),
    left_out={
        "io": "runs one task a process: 500 at a time would be 500 processes",
        "noop-rabbitmq": "has no RabbitMQ broker",
        "noop-sqlite": "has no embedded broker",
    },
)

if inside("rq"):
    from redis import Redis
    from rq import Queue

    from bench import work

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        queue, called = Queue(queues()[0], connection=Redis.from_url(broker())), getattr(work, task)
        for given in arguments:
            queue.enqueue(called, args=given, result_ttl=0)
