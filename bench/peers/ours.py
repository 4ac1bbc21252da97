"""worker-kernel, from this checkout, with its defaults; results are off, as for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues


def worker(*options: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        given = [option.format(slots=setup.slots) for option in options]
        return [f"{setup.bin}/kernel", "worker", "-A", "bench.peers.ours:app", "-Q", ",".join(setup.queues), *given]

    return command


PEER = Peer(
    name="ours",
    is_checkout=True,
    requires=("msgspec",),  # the extra "fast", which "all" brings
    modes=(
        Mode(
            name="prefork",
            kind="processes",
            command=worker("-P", "prefork", "-c", "{slots}"),
            why="defaults",
            cases=frozenset(
                {"noop-redis", "noop-rabbitmq", "noop-sqlite", "cpu", "latency", "startup", "memory"}
                | {"depth", "queues", "growth", "parking"}
            ),
            brokers=frozenset({"redis", "rabbitmq", "sqlite"}),
        ),
        Mode(
            name="threads",
            kind="threads",
            command=worker("-P", "threads", "-c", "{slots}"),
            why="defaults",
            cases=frozenset({"noop-redis", "latency"}),
        ),
        Mode(
            name="solo",
            kind="solo",
            command=worker("-P", "solo"),
            why="defaults",
            cases=frozenset({"noop-redis"}),
        ),
        Mode(
            name="gevent",
            kind="greens",
            command=worker("-P", "gevent", "-c", "{slots}"),
            why="defaults",
            cases=frozenset({"noop-redis", "slots"}),
        ),
        Mode(
            name="gevent x2",
            kind="greens",
            command=worker("-P", "gevent", "-c", "{slots}", "--processes", "2"),
            why="two processes, for two cores",
            cases=frozenset({"noop-redis", "io"}),
        ),
    ),
)

if inside("ours"):
    from bench import work
    from worker_kernel import App

    app = App("bench", broker_url=broker(), task_ignore_result=True, worker_control_socket="off")
    tasks = {name: app.task(name=name)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")}

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        names, called = queues(), tasks[task]
        for number, given in enumerate(arguments):
            called.apply_async(given, queue=names[number % len(names)])
