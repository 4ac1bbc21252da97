"""What is possible without a worker: upper bounds for what any worker can reach on this machine."""

from __future__ import annotations

import base64
import json
import multiprocessing
import time
import uuid
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from bench.servers import Redis, Server
from bench.work import CPU_SECONDS, IO_SECONDS

if TYPE_CHECKING:
    from bench.cases.case import Amount, Figures

CODED = 20_000
PASSED = 10_000
BATCH = 100
IO_AT_A_TIME = 500
BARE_SECONDS = 2.0
FRAME = b"x" * 256


def envelope() -> bytes:
    """A message of Celery's protocol as it lies in Redis: body, headers, properties."""
    task_id = str(uuid.uuid4())
    headers = {
        "lang": "py", "task": "noop", "id": task_id, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id, "parent_id": None,
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": True,
    }  # fmt: skip
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    properties = {
        "correlation_id": task_id, "reply_to": task_id, "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": "celery"}, "delivery_tag": str(uuid.uuid4()),
    }  # fmt: skip
    body = base64.b64encode(json.dumps([[], {}, embed]).encode()).decode()
    return json.dumps(
        {"body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
         "properties": properties}
    ).encode()  # fmt: skip


def _rate(count: int, started: float) -> Figures:
    seconds = time.perf_counter() - started
    return {"value": count / seconds, "main_us": seconds / count * 1e6}


def codec(_: Server, __: Amount) -> Figures:
    """Decoding envelope and body with the standard library's json, in one process."""
    raw = envelope()
    started = time.perf_counter()
    for _number in range(CODED):
        json.loads(base64.b64decode(json.loads(raw)["body"]))
    return _rate(CODED, started)


def echo(pipe: Connection) -> None:
    while frame := pipe.recv_bytes():
        pipe.send_bytes(frame)
    pipe.close()


def pipe(_: Server, __: Amount) -> Figures:
    """A frame of 256 bytes to another process and back, one at a time."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=echo, args=(there,))
    child.start()
    here.send_bytes(FRAME)
    here.recv_bytes()
    started = time.perf_counter()
    for _number in range(PASSED):
        here.send_bytes(FRAME)
        here.recv_bytes()
    figures = _rate(PASSED, started)
    here.send_bytes(b"")
    child.join()
    return figures


def redis_drain(server: Server, _: Amount) -> Figures:
    """redis-py alone: fetch a hundred, note them as unacknowledged, acknowledge the last hundred, in one pipeline."""
    assert isinstance(server, Redis)
    raw = envelope()
    for _number in range(CODED // BATCH):
        server.client.rpush("floor", *[raw] * BATCH)
    held: list[str] = []
    started = time.perf_counter()
    for number in range(CODED // BATCH):
        with server.client.pipeline(transaction=True) as pipeline:
            pipeline.rpop("floor", BATCH)
            if held:
                pipeline.hdel("floor.unacked", *held)
                pipeline.zrem("floor.index", *held)
            fetched = pipeline.execute()[0]
        held = [f"{number}-{place}" for place in range(len(fetched))]
        with server.client.pipeline(transaction=True) as pipeline:
            pipeline.hset("floor.unacked", mapping=dict(zip(held, fetched, strict=True)))
            pipeline.zadd("floor.index", dict.fromkeys(held, 0.0))
            pipeline.execute()
    return _rate(CODED, started)


def io_limit(_: Server, __: Amount) -> Figures:
    """By arithmetic: a slot is free again after 50 ms."""
    return {"value": IO_AT_A_TIME / IO_SECONDS}


def spin(seconds: float, pipe: Connection) -> None:
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        ends = time.thread_time_ns() + int(CPU_SECONDS * 1e9)
        while time.thread_time_ns() < ends:
            sum(range(200))
        count += 1
    pipe.send(count)


def bare_processes(_: Server, __: Amount) -> Figures:
    """Two processes that do the work of the CPU tasks and nothing else."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe(duplex=False) for _number in range(2)]
    children = [context.Process(target=spin, args=(BARE_SECONDS, there)) for _here, there in ends]
    for child in children:
        child.start()
    count = sum(here.recv() for here, _there in ends)
    for child in children:
        child.join()
    return {"value": count / BARE_SECONDS}
