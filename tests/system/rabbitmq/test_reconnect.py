"""Connections that are lost in every way: what is sent after healing is done soon, and nothing is left over."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import POOLS
from tests.system.healing import LOAD, SOON, TASKS

BROKERS = ["rabbitmq"]


def close_by_peer(proxy: Any, until: Any) -> None:
    proxy.cut()


def three_flaps(proxy: Any, until: Any) -> None:
    for _ in range(3):
        proxy.cut()
        time.sleep(0.6)  # the fault itself: three times in two seconds


def black_hole(proxy: Any, until: Any) -> None:
    proxy.swallow()
    time.sleep(8)  # the fault itself: longer than it takes heartbeats of 2 s to notice
    proxy.heal()


def short_black_hole(proxy: Any, until: Any) -> None:
    """What was on its way is lost, and the connection stays silent after healing."""
    proxy.swallow()
    time.sleep(1)  # the fault itself
    proxy.heal()


def refused(proxy: Any, until: Any) -> None:
    proxy.refuse()
    time.sleep(3)  # the fault itself
    proxy.heal()


FAULTS = [close_by_peer, three_flaps, black_hole, short_black_hole, refused]


@pytest.fixture
def through(rabbit_site: Callable[..., Any], proxy: Any) -> Callable[..., Any]:
    """Make a site whose workers go through the proxy; the client does not."""

    def make(loop: str, **settings: str) -> Any:
        site = rabbit_site("classic", loop, broker_heartbeat="2", **settings)
        site.write(TASKS)
        site.broker_url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        return site

    return make


def matrix() -> Iterator[Any]:
    """Everything, of which each fault, pool and loop is in the short form."""
    for number, (pool, loop, fault) in enumerate(product(POOLS, ["asynloop", "synloop"], FAULTS)):
        short = number % len(FAULTS) == (0 if pool == "solo" and loop == "asynloop" else 1) or (
            pool == "threads" and loop == "asynloop"
        )
        marks = [] if short else [pytest.mark.long]
        yield pytest.param(pool, loop, fault, marks=marks, id=f"{pool}-{loop}-{fault.__name__}")


@pytest.mark.parametrize(("pool", "loop", "fault"), [*matrix()])
@pytest.mark.parametrize("broker", BROKERS)
def test_a_task_sent_after_healing_is_done_soon(
    through: Callable[..., Any], proxy: Any, broker: str, pool: str, loop: str, fault: Callable[..., None], until: Any
) -> None:
    site = through(loop)
    worker = site.worker("-P", pool)
    assert site.app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
    fault(proxy, until)
    assert site.app.send_task("tasks.add", (2, 3)).get(timeout=SOON * LOAD) == 5
    assert worker.stop() == 0, worker.log
    assert "lost" in worker.log


@pytest.mark.parametrize("loop", ["asynloop", "synloop"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_runs_through_a_lost_connection_runs_once(
    through: Callable[..., Any], proxy: Any, pool: str, loop: str, until: Any
) -> None:
    site = through(loop)
    worker = site.worker("-P", pool)
    result = site.app.send_task("tasks.sleep", (4,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    proxy.cut()
    assert result.get(timeout=30) == 4
    until(lambda: "adopted" in worker.log, "the redelivery to be adopted")
    assert site.app.send_task("tasks.add", (2, 3)).get(timeout=30) == 5
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["begun"], ["done"]]
    assert site.queue_size() == 0


def test_a_result_that_came_while_there_was_no_connection_settles_the_redelivery(
    through: Callable[..., Any], proxy: Any, until: Any
) -> None:
    site = through("asynloop")
    worker = site.worker("-P", "threads")
    result = site.app.send_task("tasks.sleep", (1,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    proxy.refuse()
    assert result.get(timeout=30) == 1
    proxy.heal()
    until(lambda: "redelivery of" in worker.log, "the redelivery")
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["begun"], ["done"]]
    assert site.queue_size() == 0


@pytest.mark.parametrize("how", ["password", "permission"])
def test_a_login_that_fails_after_a_restart_is_tried_again(
    rabbit: Any, rabbit_site: Callable[..., Any], how: str, until: Any
) -> None:
    """The broker's administrator takes the user away and gives it back."""
    user = rabbit.prefix
    _control("add_user", user, "right")
    _control("set_permissions", user, ".*", ".*", ".*")
    try:
        site = rabbit_site()
        site.write(TASKS)
        site.broker_url = f"amqp://{user}:right@127.0.0.1:5672//"
        worker = site.worker("-P", "threads")
        if how == "password":
            _control("change_password", user, "wrong")
        else:
            _control("clear_permissions", user)
        _control("close_all_user_connections", user, "the test")
        until(lambda: "cannot connect" in worker.log, "the worker to be refused")
        if how == "password":
            _control("change_password", user, "right")
        else:
            _control("set_permissions", user, ".*", ".*", ".*")
        assert site.app.send_task("tasks.add", (2, 3)).get(timeout=SOON * LOAD) == 5
        assert worker.stop() == 0, worker.log
    finally:
        _control("delete_user", user)


def _control(*words: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("rabbitmqctl needs root")
    subprocess.run(["rabbitmqctl", "--quiet", *words], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("loop", ["asynloop", "synloop"])
def test_reconnects_leave_no_descriptor_thread_or_timer(
    through: Callable[..., Any], proxy: Any, loop: str, rounds: int, until: Any, tmp_path: Path
) -> None:
    site = through(loop)
    worker = site.worker("-P", "threads", "-c", "1")
    counts = []
    for number in range(rounds):
        counts.append(site.app.send_task("tasks.open_things").get(timeout=60))
        losses = worker.log.count("connecting again")
        proxy.cut()
        until(lambda losses=losses: worker.log.count("connecting again") > losses, f"loss {number + 1}", 60)
    counts.append(site.app.send_task("tasks.open_things").get(timeout=60))
    assert worker.stop() == 0, worker.log
    first, last = counts[1], counts[-1]
    assert last[0] <= first[0] + 1, counts  # one descriptor may be that of a result on its way
    assert last[1] <= first[1], counts
