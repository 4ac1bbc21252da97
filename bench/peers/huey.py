"""huey: a message is gone from the queue before its task runs (at most once); no results."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues, slots

PATCHED = ("-m", "gevent.monkey", "--module", "huey.bin.huey_consumer")


def worker(kind: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        options = ["-k", kind, "-w", str(setup.slots), "--no-periodic", "--quiet"]
        program = [f"{setup.bin}/python", *PATCHED] if kind == "greenlet" else [f"{setup.bin}/huey_consumer"]
        return [*program, "bench.peers.huey.app", *options]

    return command


WHY = "no periodic tasks, no results, no log"
PEER = Peer(
    name="huey",
    requires=("huey", "redis", "gevent", "hiredis"),
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
            name="greenlet",
            kind="greens",
            command=worker("greenlet"),
            why=f"{WHY}; patched by gevent.monkey, as its consumer does not; connections for all",
            cases=frozenset({"noop-redis", "io"}),
        ),
    ),
    left_out={"noop-rabbitmq": "has no RabbitMQ broker"},
)

if inside("huey"):
    from huey import RedisHuey, SqliteHuey
    from redis import ConnectionPool

    from bench import work

    if broker().startswith("sqlite"):
        app = SqliteHuey(queues()[0], filename=broker().removeprefix("sqlite:///"), results=False)
    else:
        pool = ConnectionPool.from_url(broker(), max_connections=2 * slots() + 10)
        app = RedisHuey(queues()[0], connection_pool=pool, results=False)
    tasks = {name: app.task(name=name)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")}

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called = tasks[task]
        for given in arguments:
            called(*given)
