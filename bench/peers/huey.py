"""huey: a message is gone from the queue before its task runs (at most once); no results."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues


def worker(kind: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        options = ["-k", kind, "-w", str(setup.slots), "--no-periodic", "--quiet"]
        return [f"{setup.bin}/huey_consumer", "bench.peers.huey.app", *options]

    return command


WHY = "no periodic tasks, no results, no log"
PEER = Peer(
    name="huey",
    requires=("huey", "redis", "gevent"),
    modes=(
        Mode(
            name="process",
            kind="processes",
            command=worker("process"),
            why=WHY,
            cases=frozenset({"noop-redis", "noop-sqlite", "cpu", "latency", "startup", "memory"}),
            brokers=frozenset({"redis", "sqlite"}),
        ),
        Mode(name="thread", kind="threads", command=worker("thread"), why=WHY, cases=frozenset({"noop-redis"})),
        Mode(
            name="greenlet", kind="greens", command=worker("greenlet"), why=WHY, cases=frozenset({"noop-redis", "io"})
        ),
    ),
    left_out={"noop-rabbitmq": "has no RabbitMQ broker"},
)

if inside("huey"):
    from huey import RedisHuey, SqliteHuey

    from bench import work

    if broker().startswith("sqlite"):
        app = SqliteHuey(queues()[0], filename=broker().removeprefix("sqlite:///"), results=False)
    else:
        app = RedisHuey(queues()[0], url=broker(), results=False)
    tasks = {name: app.task(name=name)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")}

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called = tasks[task]
        for given in arguments:
            called(*given)
