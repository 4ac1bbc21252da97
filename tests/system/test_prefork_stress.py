"""A worker under load whose children are killed and stopped at random: every task has an end, and the pool its size.

Over a broker in a process of its own: a child that is stopped while it writes into a broker's file holds the lock on
that file, and so holds up everybody who writes there, the worker's loop included.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.redis_server import RedisServer

SLOTS = 4
LIMIT = 2.0
"""Seconds: the hard limit of each task."""
PACE = 0.4
"""Seconds between two attacks: less than two children take to be started."""
LARGEST = 8 << 20
"""Bytes of the largest bodies."""
OUTSTANDING = 40
TITLE = re.compile(r"kernel: .* slot (\d+): ")

TASKS = f"""
    import signal
    @app.task(time_limit={LIMIT})
    def measure(body, seconds): time.sleep(seconds); return len(body)
    @app.task(time_limit={LIMIT})
    def die(): os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)
    @app.task(time_limit=30)
    def meet(count):
        mark(os.getpid())
        while len(set(open("marks").readlines())) < count: time.sleep(0.01)
        return os.getpid()
"""

DURATIONS = [8.0, pytest.param(60.0, marks=[pytest.mark.long, pytest.mark.timeout(600)])]


@pytest.fixture
def site(redis_server: RedisServer, new_site: type[Any], tmp_path: Path) -> Iterator[Any]:
    """On a Redis of the test's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = new_site(folder, "", redis_server.url)
    yield site
    site.close()


def children_of(pid: int) -> dict[int, tuple[int, str]]:
    """The children that have a slot, by pid: the slot, and the state as the kernel has it (``T``: stopped)."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
        except OSError:  # it has ended since
            continue
        parents[int(folder.name)] = (int(fields[1]), fields[0])
    found: dict[int, tuple[int, str]] = {}
    for child, (parent, state) in parents.items():
        if parent != pid and parents.get(parent, (0, ""))[0] != pid:
            continue
        try:
            title = TITLE.match((Path("/proc") / str(child) / "cmdline").read_text(errors="replace"))
        except OSError:
            continue
        if title and state != "Z":
            found[child] = (int(title[1]), state)
    return found


def attack(pid: int, chance: random.Random) -> str:
    """Kill or stop one child."""
    running = sorted(child for child, (_, state) in children_of(pid).items() if state != "T")
    if not running:
        return "none"
    number = chance.choice([signal.SIGKILL, signal.SIGSTOP])
    try:
        os.kill(chance.choice(running), number)
    except ProcessLookupError:
        return "none"
    return number.name


def size_of(chance: random.Random, sent: int) -> int:
    """Most bodies are small; now and then there is one of the largest."""
    return LARGEST if sent % 25 == 24 else chance.choice([10, 1000, 100_000])


def storm(site: Any, worker: Any, seconds: float, seed: int) -> tuple[list[tuple[Any, int]], Counter[str]]:
    """Send tasks for so long and attack children meanwhile; return each result with the size of its body."""
    chance = random.Random(seed)
    sent: list[tuple[Any, int]] = []
    open_: list[Any] = []
    attacks: Counter[str] = Counter()
    end = next_attack = time.monotonic() + PACE
    end += seconds
    while (now := time.monotonic()) < end:
        if now >= next_attack:
            attacks[attack(worker.process.pid, chance)] += 1
            next_attack = now + PACE
        open_ = [result for result in open_ if not result.ready()]
        if len(open_) < OUTSTANDING:
            size = size_of(chance, len(sent))
            open_.append(site.app.send_task("tasks.measure", ("x" * size, chance.random() * 0.2)))
            sent.append((open_[-1], size))
        else:
            time.sleep(0.01)
    assert worker.process.poll() is None, worker.log
    return sent, attacks


def endings(sent: list[tuple[Any, int]], worker: Any, until: Any) -> Counter[str]:
    """Wait until each task has an end, and count them; those that went well have measured their body."""
    ends: Counter[str] = Counter()
    for result, size in sent:
        until(result.ready, f"an end of {result.id}; ended so far: {ends}; the log ends: {worker.log[-3000:]}", 60.0)
        if result.state == "SUCCESS":
            assert result.result == size
            ends["SUCCESS"] += 1
        else:
            ends[type(result.result).__name__] += 1
    return ends


def back_at_its_size(site: Any, worker: Any, until: Any) -> None:
    """As many tasks as there are slots run at the same time, and nothing else is left."""
    results = [site.app.send_task("tasks.meet", (SLOTS,)) for _ in range(SLOTS)]
    assert len({result.get(timeout=90) for result in results}) == SLOTS

    def whole() -> bool:
        return sorted(children_of(worker.process.pid).values()) == [(slot, "S") for slot in range(SLOTS)]

    until(whole, "each slot to have one child, which sleeps", 60.0)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", DURATIONS)
def test_without_a_cap_on_attempts_no_task_is_lost_or_stuck(
    site: Any, until: Any, seconds: float, record_property: Any
) -> None:
    site.write(TASKS)
    worker = site.worker("-P", "prefork", "-c", str(SLOTS), KERNEL_WORKER_MAX_ATTEMPTS="1000")
    sent, attacks = storm(site, worker, seconds, seed=1)
    ends = endings(sent, worker, until)
    record_property("storm", (len(sent), dict(attacks), dict(ends)))
    assert attacks["SIGKILL"]
    assert attacks["SIGSTOP"]
    assert set(ends) <= {"SUCCESS", "TimeLimitExceeded"}, "what was stopped as it ran met its limit"
    back_at_its_size(site, worker, until)
    assert site.queue_size("celery.quarantine") == 0
    assert site.queue_size() == 0
    assert worker.stop() == 0, worker.log


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", DURATIONS)
def test_with_the_cap_on_attempts_no_task_is_lost_and_each_that_is_given_up_is_in_quarantine(
    site: Any, until: Any, seconds: float, record_property: Any
) -> None:
    site.write(TASKS)
    worker = site.worker("-P", "prefork", "-c", str(SLOTS))
    deadly = [(site.app.send_task("tasks.die"), 0) for _ in range(3)]
    for result, _ in deadly:
        until(result.ready, "three attempts of what kills its process", 60.0)
    sent, attacks = storm(site, worker, seconds, seed=2)
    ends = endings(deadly + sent, worker, until)
    record_property("storm", (len(sent), dict(attacks), dict(ends)))
    assert set(ends) <= {"SUCCESS", "TimeLimitExceeded", "WorkerLostError"}
    assert ends["WorkerLostError"] >= len(deadly)
    back_at_its_size(site, worker, until)
    assert site.queue_size("celery.quarantine") == ends["WorkerLostError"]
    assert site.queue_size() == 0
    assert worker.stop() == 0, worker.log
