"""The acknowledgement matrix: what each way to end comes to, on each broker; docs/reference/acknowledgement.md."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from tests.interop.conftest import Place, place_of

from worker_kernel.control.client import ask

TASKS = """
    late, early = {}, {"acks_late": False}

    def declare(function, **options):
        for when, acks in (("late", late), ("early", early)):
            app.task(name=f"{function.__name__}.{when}", bind=True, **acks, **options)(function)

    def succeed(self): mark(self.request.id); return "done"
    def fail(self): mark(self.request.id); raise ValueError("on purpose")
    def retry(self):
        mark(self.request.id)
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return "done"
    def exhaust(self): mark(self.request.id); raise self.retry(countdown=0, max_retries=1)
    def reject(self): mark(self.request.id); raise Reject("no thanks")
    def requeue(self):
        mark(self.request.id)
        if [line.strip() for line in open("marks")].count(self.request.id) == 1:
            raise Reject("later", requeue=True)
        return "done"
    def ignore(self): mark(self.request.id); raise Ignore()
    def soft(self):
        mark(self.request.id)
        while True: time.sleep(0.01)
    def hard(self):
        mark(self.request.id)
        while True: time.sleep(0.01)
    def fail_rejected(self): mark(self.request.id); raise ValueError("on purpose")
    def hard_requeued(self):
        mark(self.request.id)
        if [line.strip() for line in open("marks")].count(self.request.id) > 1:
            return "done"
        while True: time.sleep(0.01)
    def hard_again(self):
        mark(self.request.id)
        while True: time.sleep(0.01)
    def die(self): mark(self.request.id); os.kill(os.getpid(), signal.SIGKILL)
    def die_once(self):
        mark(self.request.id)
        if [line.strip() for line in open("marks")].count(self.request.id) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    def linger(self):
        mark(self.request.id)
        if [line.strip() for line in open("marks")].count(self.request.id) > 1:
            return "done"
        while True: time.sleep(0.01)

    for function in (succeed, fail, retry, exhaust, reject, requeue, ignore, die, die_once, linger):
        declare(function)
    declare(soft, soft_time_limit=1)
    declare(hard, time_limit=1)
    declare(fail_rejected, acks_on_failure=False)
    declare(hard_again, time_limit=1, acks_on_timeout=False)
    declare(hard_requeued, time_limit=2, acks_on_timeout=False)
"""


@attrs.frozen
class Row:
    """One row of the matrix, for one time of acknowledgement."""

    task: str
    when: str
    state: str
    """Of the result."""
    says: str
    """The result, or the class of the exception."""
    runs: int
    kept: int = 0
    """Messages in the quarantine."""
    options: dict[str, Any] = attrs.field(factory=dict)
    """Of the call."""


ROWS = [
    Row("succeed", "late", "SUCCESS", "done", 1),
    Row("succeed", "early", "SUCCESS", "done", 1),
    Row("fail", "late", "FAILURE", "ValueError", 1),
    Row("fail", "early", "FAILURE", "ValueError", 1),
    Row("fail_rejected", "late", "FAILURE", "ValueError", 1),
    Row("fail_rejected", "early", "FAILURE", "ValueError", 1),
    Row("retry", "late", "SUCCESS", "done", 2),
    Row("retry", "early", "SUCCESS", "done", 2),
    Row("exhaust", "late", "FAILURE", "MaxRetriesExceeded", 2),
    Row("exhaust", "early", "FAILURE", "MaxRetriesExceeded", 2),
    Row("reject", "late", "FAILURE", "Reject", 1, kept=1),
    Row("reject", "early", "FAILURE", "Reject", 1, kept=1),
    Row("requeue", "late", "SUCCESS", "done", 2),
    Row("requeue", "early", "SUCCESS", "done", 2),
    Row("ignore", "late", "PENDING", "", 1),
    Row("ignore", "early", "PENDING", "", 1),
    Row("soft", "late", "FAILURE", "SoftTimeLimitExceeded", 1),
    Row("soft", "early", "FAILURE", "SoftTimeLimitExceeded", 1),
    Row("hard", "late", "FAILURE", "TimeLimitExceeded", 1),
    Row("hard", "early", "FAILURE", "TimeLimitExceeded", 1),
    Row("hard_requeued", "late", "SUCCESS", "done", 2),
    Row("hard_requeued", "early", "FAILURE", "TimeLimitExceeded", 1),
    Row("hard_again", "late", "FAILURE", "TimeLimitExceeded", 3, kept=1),
    Row("succeed", "late", "REVOKED", "TaskRevoked", 0, options={"expires": -1}),
    Row("succeed", "early", "REVOKED", "TaskRevoked", 0, options={"expires": -1}),
    Row("unknown", "late", "FAILURE", "TaskNotRegistered", 0, kept=1),
]


@pytest.fixture(scope="module", params=["sqlite", "redis", "amqp"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One worker for all rows that it survives."""
    with place_of(request.param, tmp_path_factory.mktemp("served")) as place:
        place.write(TASKS)
        place.worker("-P", "threads", "-c", "2", "--state-file", "state.json")
        yield place


def said(result: Any) -> str:
    found = result.result
    return type(found).__name__ if isinstance(found, Exception) else found or ""


def name_of(row: Row) -> str:
    return f"{row.task}{'-expired' if row.options else ''}-{row.when}"


@pytest.mark.leaves("descriptors", reason="one client serves all tests, and keeps its connections")
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_row_of_the_matrix(served: Place, until: Any, row: Row) -> None:
    before = served.quarantined()
    if row.options and served.kind == "amqp":
        pytest.skip("RabbitMQ drops what has expired before a worker sees it")
    result = served.app.send_task(f"{row.task}.{row.when}", **row.options)
    until(lambda: served.lines().count(result.id) >= row.runs, "all runs")
    if row.state != "PENDING":
        until(result.ready, "the result")
    assert served.app.send_task("succeed.late").get(timeout=30) == "done"  # what was sent before it has been begun
    until(lambda: served.depth() == 0, "an empty queue")
    until(lambda: served.quarantined() == before + row.kept, "the quarantine")
    assert (result.state, said(result)) == (row.state, row.says)
    assert served.lines().count(result.id) == row.runs


def revoke(place: Place, task_id: str, *, terminate: bool) -> None:
    state = json.loads((place.folder / "state.json").read_text())
    ask(state["control_socket"], "revoke", {"ids": task_id, "terminate": terminate}, timeout=30)


@pytest.mark.leaves("descriptors", reason="one client serves all tests, and keeps its connections")
@pytest.mark.parametrize("when", ["late", "early"])
def test_a_task_that_is_revoked_before_it_runs(served: Place, until: Any, when: str) -> None:
    before, task_id = served.quarantined(), str(uuid.uuid4())
    revoke(served, task_id, terminate=False)
    result = served.app.send_task(f"succeed.{when}", task_id=task_id)
    until(result.ready, "the result")
    until(lambda: served.depth() == 0, "an empty queue")
    assert (result.state, said(result)) == ("REVOKED", "TaskRevoked")
    assert served.lines().count(task_id) == 0
    assert served.quarantined() == before


@pytest.mark.leaves("descriptors", reason="one client serves all tests, and keeps its connections")
@pytest.mark.parametrize("when", ["late", "early"])
def test_a_task_that_is_cancelled_while_it_runs(served: Place, until: Any, when: str) -> None:
    before = served.quarantined()
    result = served.app.send_task(f"linger.{when}")
    until(lambda: result.id in served.lines(), "the run")
    revoke(served, result.id, terminate=True)
    until(result.ready, "the result")
    assert served.app.send_task("succeed.late").get(timeout=30) == "done"
    until(lambda: served.depth() == 0, "an empty queue")
    assert (result.state, said(result)) == ("REVOKED", "TaskRevoked")
    assert served.lines().count(result.id) == 1
    assert served.quarantined() == before


@pytest.mark.parametrize("when", ["late", "early"])
def test_a_stop_that_could_not_wait(place: Place, until: Any, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed back has not been started, as far as attempts go: here the first one would be the last."""
    place.write(TASKS)
    monkeypatch.setenv("KERNEL_WORKER_MAX_ATTEMPTS", "1")
    worker = place.worker("-P", "threads")
    result = place.app.send_task(f"linger.{when}")
    until(lambda: result.id in place.lines(), "the run")
    worker.process.send_signal(signal.SIGQUIT)
    assert worker.wait() == (8 if when == "late" else 0), worker.log
    assert place.depth() == (1 if when == "late" else 0)
    assert result.state == ("PENDING" if when == "late" else "FAILURE")
    place.worker("-P", "threads")
    until(result.ready, "the result")
    assert place.app.send_task("succeed.late").get(timeout=30) == "done"
    until(lambda: place.depth() == 0, "an empty queue")
    assert said(result) == ("done" if when == "late" else "WorkerLostError")
    assert place.lines().count(result.id) == (2 if when == "late" else 1)
    assert place.quarantined() == 0


@pytest.mark.parametrize(
    "row",
    [
        Row("die", "late", "FAILURE", "WorkerLostError", 3, kept=1),
        Row("die", "early", "PENDING", "", 1),
        Row("die_once", "late", "SUCCESS", "done", 2),
        Row("die_once", "early", "PENDING", "", 1),
    ],
    ids=name_of,
)
def test_a_task_that_kills_its_worker(place: Place, until: Any, row: Row) -> None:
    place.write(TASKS)
    query = "" if place.kind == "amqp" else "?lease=1"
    result = place.app.send_task(f"{row.task}.{row.when}")
    deaths = row.runs if row.state != "SUCCESS" else row.runs - 1
    for number in range(deaths):
        worker = place.worker("-P", "solo", query=query, ready=False)
        until(lambda number=number: len(place.lines()) == number + 1, f"start {number + 1}")
        assert worker.wait() == -signal.SIGKILL
    place.worker("-P", "solo", query=query)
    if row.state != "PENDING":
        until(result.ready, "the result")
    assert place.app.send_task("succeed.late").get(timeout=30) == "done"
    until(lambda: place.depth() == 0, "an empty queue")
    until(lambda: place.quarantined() == row.kept, "the quarantine")
    assert (result.state, said(result)) == (row.state, row.says)
    assert place.lines().count(result.id) == row.runs
