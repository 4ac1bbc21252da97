"""potatoq: at-least-once, one message for each idle process; no results."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.peers import Mode, Peer, Setup, broker, inside, queues


def worker(threads: bool) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        processes, each = (2, setup.slots // 2) if threads else (setup.slots, 1)
        options = ["-c", str(processes), "-t", str(each), "-l", "WARNING", "--no-scheduler"]
        return [f"{setup.bin}/potatoq", "-A", "bench.peers.potatoq:app", "worker", *options, "-Q", setup.queues[0]]

    return command


PEER = Peer(
    name="potatoq",
    requires=("potatoq[redis,rabbitmq]", "hiredis"),
    prereleases=True,
    modes=(
        Mode(
            name="prefork",
            kind="processes",
            command=worker(threads=False),
            why="defaults (it knows no prefetch), without its scheduler",
            cases=frozenset({"noop-redis", "noop-rabbitmq", "noop-sqlite", "cpu", "latency", "startup", "memory"}),
            brokers=frozenset({"redis", "rabbitmq", "sqlite"}),
        ),
        Mode(
            name="threads x2",
            kind="greens",
            command=worker(threads=True),
            why="2 processes of threads, its way for tasks that wait",
            cases=frozenset({"io"}),
        ),
    ),
)

if inside("potatoq"):
    from potatoq import Potatoq

    from bench import work

    app = Potatoq("bench", broker=broker())
    tasks = {
        name: app.task(name=name, ignore_result=True)(getattr(work, name)) for name in ("noop", "io", "cpu", "stamp")
    }

    def send(task: str, arguments: Iterable[tuple[int, ...]]) -> None:
        called, queue = tasks[task], queues()[0]
        for given in arguments:
            called.apply_async(args=given, queue=queue)
