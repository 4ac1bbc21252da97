"""Celery, with the settings that its documentation recommends for many short tasks; no result backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues

LEAN = ("--without-gossip", "--without-mingle", "--without-heartbeat")
WHY = "a prefetch multiplier of 64, as its guide has it for short tasks; no gossip, mingle, heartbeat: nobody listens"


def worker(pool: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        queue = ["-Q", ",".join(setup.queues), "-l", "WARNING"]
        return [
            f"{setup.bin}/celery", "-A", "bench.peers.celery:app", "worker", "-P", pool, "-c", str(setup.slots),
            *queue, *LEAN,
        ]  # fmt: skip

    return command


PEER = Peer(
    name="celery",
    requires=("celery[redis]", "gevent", "hiredis"),
    modes=(
        Mode(
            name="prefork",
            kind="processes",
            command=worker("prefork"),
            why=WHY,
            cases=frozenset({"noop-redis", "noop-rabbitmq", "cpu", "latency", "startup", "memory", "depth", "queues"}),
            brokers=frozenset({"redis", "rabbitmq"}),
        ),
        Mode(
            name="threads",
            kind="threads",
            command=worker("threads"),
            why=WHY,
            cases=frozenset({"noop-redis", "latency"}),
        ),
        Mode(name="solo", kind="solo", command=worker("solo"), why=WHY, cases=frozenset({"noop-redis"})),
        Mode(
            name="gevent",
            kind="greens",
            command=worker("gevent"),
            why=WHY,
            cases=frozenset({"noop-redis", "io", "slots"}),
        ),
    ),
    left_out={"noop-sqlite": "has no embedded broker that is meant for use"},
)

if inside("celery"):
    from celery import Celery

    from bench import work

    app = Celery("bench", broker=broker())
    app.conf.update(
        worker_prefetch_multiplier=64,
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        task_default_queue=queues()[0],
    )
    tasks = {name: app.task(name=name)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")}

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        names, called = queues(), tasks[task]
        for number, given in enumerate(arguments):
            called.apply_async(given, queue=names[number % len(names)])
