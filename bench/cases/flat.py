"""What should not matter: how much is queued, how many queues and slots there are, how long the worker has run.

Two of these put many messages into Redis at once. A client would take minutes, so one message of the client's is copied
under new ids; that works for those who speak Celery's protocol, us and Celery.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta

from bench.cases.case import Amount, Case, Figures
from bench.cases.drain import NOOP_SLOTS, STARTING, drained
from bench.cases.lifecycle import settled
from bench.contender import Bout, Contender, Failed
from bench.servers import Redis, Server

QUEUE = "bench"
ASIDE = "bench.aside"
WINDOW = 1_000  # tasks
FEED = "for _ = 1, ARGV[1] do redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT') end"
PUSHED = 1_000  # messages in a command
LATER = timedelta(hours=1)


def message(redis: Redis, bout: Bout) -> str:
    """A message as the contender's client writes it, taken from the queue."""
    bout.send("noop", 1)
    raw = redis.client.rpop(QUEUE)
    if not isinstance(raw, bytes):
        raise Failed("its messages do not lie in a list under the name of the queue")
    return raw.decode()


def put_aside(redis: Redis, text: str, count: int) -> None:
    """Have `count` copies of a message, under ids of their own, where no worker sees them."""
    told = json.loads(text)
    task_id, tag = told["headers"]["id"], told["properties"]["delivery_tag"]
    for start in range(0, count, PUSHED):
        some = range(min(PUSHED, count - start))
        copies = [text.replace(task_id, str(uuid.uuid4())).replace(tag, str(uuid.uuid4())) for _ in some]
        redis.client.lpush(ASIDE, *copies)


def place(redis: Redis, text: str, count: int) -> None:
    """Have `count` copies of a message in the empty queue, all at once, and one more that wakes the worker."""
    put_aside(redis, text, count)
    redis.client.rename(ASIDE, QUEUE)
    put_aside(redis, text, 1)
    redis.client.eval(FEED, 2, ASIDE, QUEUE, 1)


def begin(redis: Redis, bout: Bout) -> str:
    """Start the worker, have it run a task, and return a message."""
    text = message(redis, bout)
    bout.start()
    bout.send("noop", 1)
    bout.must_reach(1, STARTING)
    return text


def pace(ended: list[int]) -> float:
    return (len(ended) - 1) / (ended[-1] - ended[0]) * 1e9


def depth(contender: Contender, server: Server, amount: Amount, variant: int) -> Figures:
    """The pace with `variant` messages in the queue all the time: what is taken is put back in as many."""
    assert isinstance(server, Redis)
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind]) as bout:
        text = begin(server, bout)
        first = len(bout.reader.records) + WINDOW  # the worker has come to its pace by then
        place(server, text, variant)
        put_aside(server, text, WINDOW + amount.tasks)

        def over() -> bool:
            missing = variant - server.client.llen(QUEUE)
            if missing > 0:
                server.client.eval(FEED, 2, ASIDE, QUEUE, missing)
            return bout.reader.look() >= first + amount.tasks

        if not bout.wait(over, amount.seconds):
            raise Failed(f"{len(bout.reader.records) - first} of {amount.tasks} tasks had ended")
        return {"value": pace(sorted(end for _, end in bout.reader.records)[first : first + amount.tasks])}


def queues(contender: Contender, server: Server, amount: Amount, variant: int) -> Figures:
    """The rate with the tasks spread over so many queues."""
    names = tuple(f"bench-{number}" for number in range(variant))
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind], names) as bout:
        bout.send("noop", amount.tasks)
        return drained(bout, amount)


def slots(contender: Contender, server: Server, amount: Amount, variant: int) -> Figures:
    """The rate with so many slots."""
    with Bout(contender, server.url, variant) as bout:
        bout.send("noop", amount.tasks)
        return drained(bout, amount)


def growth(contender: Contender, server: Server, amount: Amount, _: int) -> Figures:
    """By how much the worker is larger after all tasks than after a tenth of them."""
    assert isinstance(server, Redis)
    part, sizes = amount.tasks // 10, []
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind]) as bout:
        text = begin(server, bout)
        for _turn in range(10):
            done = len(bout.reader.records)
            place(server, text, part - 1)
            bout.must_reach(done + part, amount.seconds)
            sizes.append(settled(bout))
    return {"value": sizes[-1] - sizes[0], "first_mb": sizes[0], "largest_mb": max(sizes)}


def parking(contender: Contender, server: Server, amount: Amount, _: int) -> Figures:
    """How fast messages for later are put aside, what they cost, and how soon an ordinary task then runs."""
    assert isinstance(server, Redis)
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind]) as bout:
        told = json.loads(begin(server, bout))
        told["headers"]["eta"] = (datetime.now(UTC) + LATER).isoformat()
        before = settled(bout)
        started = time.monotonic()
        place(server, json.dumps(told), amount.tasks - 1)
        filled = time.monotonic()
        if not bout.wait(lambda: not server.client.llen(QUEUE), amount.seconds):
            raise Failed(f"{server.client.llen(QUEUE)} of {amount.tasks} messages were still in the queue")
        parked = time.monotonic() - filled
        size = settled(bout)
        bout.send("stamp", 1)
        bout.must_reach(2, STARTING)
        sent, ended = max(bout.reader.records)
        return {
            "value": amount.tasks / parked,
            "filling_s": filled - started,
            "grown_mb": size - before,
            "ordinary_s": (ended - sent) / 1e9,
        }


FLAT = (
    Case(
        name="depth",
        title="Tasks that do nothing, with few and with many in the queue, Redis",
        unit="tasks/s",
        measure=depth,
        full=Amount(tasks=10_000, seconds=60, rounds=3),
        variants=(WINDOW, 200_000),
        variant_of="queued",
    ),
    Case(
        name="queues",
        title="Tasks that do nothing, from one queue and from fifty, Redis",
        unit="tasks/s",
        measure=queues,
        full=Amount(tasks=10_000, seconds=20, rounds=3),
        variants=(1, 50),
        variant_of="queues",
    ),
    Case(
        name="slots",
        title="Tasks that do nothing, with one slot and with five hundred, Redis",
        unit="tasks/s",
        measure=slots,
        full=Amount(tasks=10_000, seconds=20, rounds=3),
        variants=(1, 500),
        variant_of="slots",
    ),
    Case(
        name="growth",
        title="Memory after 500,000 tasks, beyond that after 50,000, Redis",
        unit="MB",
        less_is_better=True,
        measure=growth,
        full=Amount(tasks=500_000, seconds=300, rounds=1),
    ),
    Case(
        name="parking",
        title="200,000 tasks for later: put aside, Redis",
        unit="tasks/s",
        measure=parking,
        full=Amount(tasks=200_000, seconds=300, rounds=1),
    ),
)
