"""mayu: a core in Rust, Python 3.13 or newer; at-least-once; no results."""

from __future__ import annotations

from collections.abc import Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues


def processes(setup: Setup) -> list[str]:
    spread = ["--mode", "process", "--processes", str(setup.slots)]
    return [f"{setup.bin}/mayu", "worker", "bench.peers.mayu:app", *spread, "--log-level", "WARNING"]


def threads(setup: Setup) -> list[str]:
    spread = ["--mode", "thread", "--processes", "2", "--threads", str(setup.slots // 2)]
    return [f"{setup.bin}/mayu", "worker", "bench.peers.mayu:app", *spread, "--log-level", "WARNING"]


PEER = Peer(
    name="mayu",
    requires=("mayu",),
    python=(3, 13),
    pure=False,
    modes=(
        Mode(
            name="process",
            kind="processes",
            command=processes,
            why="defaults: process mode, as there is a GIL",
            cases=frozenset({"noop-redis", "cpu", "latency", "startup", "memory"}),
        ),
        Mode(
            name="thread x2",
            kind="greens",
            command=threads,
            why="2 processes of threads, for tasks that wait",
            cases=frozenset({"io"}),
        ),
    ),
    left_out={"noop-rabbitmq": "has no RabbitMQ broker", "noop-sqlite": "has no embedded broker"},
)

if inside("mayu"):
    from mayu import App

    from bench import work

    app = App(broker=broker(), default_queue=queues()[0])  # results are off unless a result_ttl is given
    tasks = {name: app.task(name=name)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")}

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called = tasks[task]
        for given in arguments:
            called.send(*given)
