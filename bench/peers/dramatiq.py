"""dramatiq: at-least-once, acknowledged after the run; no results."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues

THREADS = 8  # for each process, its default


def worker(program: str, threads: int | None = None) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        each = threads or max(1, setup.slots // 2)
        target = ["bench.peers.dramatiq:rate_broker", "--queues", *setup.queues]
        return [f"{setup.bin}/{program}", "--processes", "2", "--threads", str(each), *target]

    return command


PEER = Peer(
    name="dramatiq",
    requires=("dramatiq[redis,rabbitmq]", "gevent", "hiredis"),
    modes=(
        Mode(
            name="2x8",
            kind="processes",
            command=worker("dramatiq", THREADS),
            why="2 processes of 8 threads, its default for two cores",
            cases=frozenset({"noop-redis", "noop-rabbitmq", "cpu", "latency", "startup", "memory"}),
            brokers=frozenset({"redis", "rabbitmq"}),
        ),
        Mode(
            name="gevent x2",
            kind="greens",
            command=worker("dramatiq-gevent"),
            why="2 processes, for two cores",
            cases=frozenset({"noop-redis", "io"}),
        ),
    ),
    left_out={"noop-sqlite": "has no embedded broker"},
)

if inside("dramatiq"):
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker
    from dramatiq.brokers.redis import RedisBroker

    from bench import work

    rate_broker = RabbitmqBroker(url=broker()) if broker().startswith("amqp") else RedisBroker(url=broker())
    # Prometheus, retries and the like are its default middleware; it is left as it is.
    dramatiq.set_broker(rate_broker)
    tasks = {
        name: dramatiq.actor(getattr(work, name), actor_name=name, queue_name=queues()[0])
        for name in ("noop", "io", "cpu", "stamp")
    }

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called = tasks[task]
        for given in arguments:
            called.send(*given)
