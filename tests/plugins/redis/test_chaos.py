"""kill -9 at random instants: every task has run, and what ran twice was in hand when its worker died."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import pytest

EACH_ROUND = 600
LONG = [pytest.mark.long, pytest.mark.timeout(1800)]
ROUNDS = [pytest.param(4, marks=pytest.mark.timeout(300)), pytest.param(100, marks=LONG)]


def held_by_ours(server: Any) -> list[str]:
    """The ids of the tasks that workers of ours have in hand, or had when they died."""
    tags = [tag for key in server.keys("wk:1:held:*") for tag in server.hkeys(key)]
    records = server.hmget("unacked", tags) if tags else []
    return [json.loads(record)[0]["headers"]["id"] for record in records if record is not None]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("beside_celery", [False, True], ids=["ours alone", "beside Celery"])
def test_no_task_is_lost_and_none_runs_twice_that_was_not_in_hand(
    site: Any, until: Any, server: Any, rounds: int, beside_celery: bool
) -> None:
    site.write("""
        app = App("tasks", worker_max_attempts=1000)
        @app.task(bind=True, name="work")
        def work(self):
            mark(self.request.id, "ours")
            time.sleep(0.002)  # so that all of a round are not done before its kill
    """)
    if beside_celery:
        site.celery("""
            @app.task(bind=True, name="work")
            def work(self):
                mark(self.request.id, "theirs")
                time.sleep(0.005)
        """).wait_ready()
    sent: list[str] = []
    in_hand: Counter[str] = Counter()
    seed = random.randrange(1 << 32)
    print("seed", seed)  # pytest shows it where the test fails
    chance = random.Random(seed)

    def ran(by: str) -> int:
        return sum(line[1] == by for line in site.lines())

    def start() -> Any:
        return site.worker("-P", "prefork", "-c", "2", query="?lease=1")

    for _ in range(rounds):
        before = ran("ours")
        sent += [site.app.send_task("work").id for _ in range(EACH_ROUND)]
        worker = start()
        until(lambda before=before: ran("ours") > before, "ours to be at work", 60)
        time.sleep(chance.uniform(0, 0.3))
        worker.kill()
        in_hand.update(set(held_by_ours(server)))

    start()
    until(lambda: not server.exists("celery", "unacked", "unacked_index", "wk:1:delayed"), "all to be settled", 120)
    runs = Counter(line[0] for line in site.lines())
    assert set(runs) == set(sent)
    too_often = {task: count for task, count in runs.items() if count > 1 + in_hand[task]}
    assert not too_often, "they were in nobody's hands"
    assert in_hand, "no kill came while a task was in hand: this has shown nothing"
    assert not server.exists("celery.quarantine")
    if beside_celery:
        assert ran("theirs")
