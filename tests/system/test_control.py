"""A running worker is told what to do, and tells how it is: without its broker, and by Celery's clients."""

from __future__ import annotations

import json
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import kombu.pools
import pytest
from tests.system.conftest import POOLS

BUSY = """
    @app.task
    def busy(seconds):
        mark("began")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
        mark("ended")
    @app.task
    def note(word): mark(word)
    @app.task
    def refuse(): raise Reject("not today")
"""


pytestmark = pytest.mark.usefixtures("sockets_of_its_own")


def began(site: Any) -> bool:
    return ["began"] in site.lines()


@pytest.mark.parametrize("pool", POOLS)
def test_a_busy_worker_answers_while_its_task_runs(site: Any, pool: str, until: Any) -> None:
    site.write(BUSY)
    worker = site.worker("-P", pool, "--state-file", "state.json")
    sent = site.app.send_task("tasks.busy", (6,))
    until(lambda: began(site), "the task to begin")

    assert site.tell("ping")["pong"] is True
    until(lambda: site.tell("active"), "the loop to have heard that the task began")
    (active,) = site.tell("active")
    assert (active["id"], active["state"]) == (sent.id, "running")
    assert (active["pid"] == worker.process.pid) is (pool != "prefork")
    assert site.tell("stats")["steps"]["pool"]["running"] == 1
    assert "tasks.busy" in site.tell("registered")
    assert site.tell("reserved") == site.tell("scheduled") == []
    assert [queue["name"] for queue in site.tell("active_queues")] == ["celery"]
    done = site.kernel("control", "active", "--state-file", "state.json", "--json")
    assert json.loads(done.stdout)["ok"][0]["id"] == sent.id
    assert ["ended"] not in site.lines(), "the answers came only after the task had ended"

    assert site.tell("shutdown", mode="cold") == {"stopping": "cold"}
    assert worker.wait() == 8, worker.log


@pytest.mark.parametrize("pool", POOLS)
def test_what_runs_is_ended_by_a_revoke_with_terminate(site: Any, pool: str, until: Any) -> None:
    site.write(BUSY)
    worker = site.worker("-P", pool, "--state-file", "state.json")
    sent = site.app.send_task("tasks.busy", (60,))
    until(lambda: began(site) and site.tell("active"), "the task to run")

    assert site.tell("revoke", ids=sent.id) == {"tasks": {sent.id: "runs on"}}
    assert site.tell("revoke", ids=[sent.id], terminate=True) == {"tasks": {sent.id: "is being ended"}}
    until(lambda: sent.state == "REVOKED", "the task to be revoked")
    until(
        lambda: site.tell("stats")["steps"]["consumer"]["settled"] == {"acknowledged": 1}, "its message to be settled"
    )
    assert site.queue_size() == 0
    assert worker.stop() == 0, worker.log
    assert ["ended"] not in site.lines()


@pytest.mark.parametrize("pool", POOLS)
def test_a_revoke_of_what_is_not_here_yet_is_remembered(site: Any, pool: str) -> None:
    site.write(BUSY)
    worker = site.worker("-P", pool, "--state-file", "state.json")
    assert site.tell("revoke", ids="later") == {"tasks": {"later": "remembered"}}
    assert site.tell("revoked") == ["later"]
    revoked = site.app.send_task("tasks.note", ("revoked",), task_id="later")
    site.app.send_task("tasks.note", ("other",)).get(timeout=30)
    revoked.get(timeout=30, propagate=False)
    assert revoked.state == "REVOKED"
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["other"]]


def test_slots_come_and_go_where_the_pool_can_and_are_refused_where_not(plain_site: Any) -> None:
    site = plain_site
    site.write(BUSY)
    worker = site.worker("-P", "threads", "-c", "2", "--state-file", "state.json")
    assert site.tell("grow", n=2) == {"limit": 4}
    assert site.tell("shrink", n=3) == {"limit": 1}
    for refused in (["shrink", "n=1"], ["grow", "n=nought"], ["grow", "m=1"], ["autoscale", "max=3"], ["restart"]):
        done = site.kernel("control", "--state-file", "state.json", *refused)
        assert done.returncode == 1, refused
        assert "Traceback" not in done.stderr
        assert 1 <= len(done.stderr.splitlines()) <= 5, done.stderr
    assert worker.stop() == 0, worker.log

    solo = site.worker("-P", "solo", "--state-file", "state.json")
    done = site.kernel("control", "--state-file", "state.json", "grow")
    assert done.returncode == 1
    assert "resize" in done.stderr
    assert solo.stop() == 0, solo.log


def test_queues_are_added_and_cancelled(site: Any) -> None:
    site.write(BUSY)
    worker = site.worker("-P", "threads", "--state-file", "state.json")
    assert site.tell("add_consumer", queue="other") == {"queues": ["celery", "other"]}
    site.app.send_task("tasks.note", ("added",), queue="other").get(timeout=30)
    assert site.tell("cancel_queue", queue="other") == {"queues": ["celery"]}
    site.app.send_task("tasks.note", ("cancelled",), queue="other")
    site.app.send_task("tasks.note", ("still",)).get(timeout=30)
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["added"], ["still"]]
    assert site.queue_size("other") == 1


def test_limits_are_changed_while_the_worker_runs(plain_site: Any) -> None:
    site = plain_site
    site.write(BUSY)
    worker = site.worker("-P", "threads", "--state-file", "state.json")
    assert site.tell("time_limit", task="tasks.busy", hard=0.3)["time_limit"] == 0.3
    assert site.tell("rate_limit", task="tasks.note", rate="100/s")["rate_limit"] == "100/s"
    late = site.app.send_task("tasks.busy", (60,))
    late.get(timeout=30, propagate=False)
    assert type(late.result).__name__ == "TimeLimitExceeded"
    assert worker.stop() == 0, worker.log


def test_the_state_file_follows_the_worker_from_its_start_to_its_end(site: Any, until: Any) -> None:
    site.write(BUSY)
    worker = site.worker("-P", "solo", "--state-file", "state.json")
    until(lambda: site.state().get("ready"), "the state file to say ready")
    assert site.kernel("probe", "state.json", "--live", "--ready").returncode == 0
    socket_path = Path(site.state()["control_socket"])
    assert socket_path.stat().st_mode & 0o777 == 0o600
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    site.app.send_task("tasks.busy", (3,))
    until(lambda: began(site), "the task to begin")
    worker.signal(signal.SIGTERM)
    until(lambda: site.state()["state"] == "draining", "the worker to say that it drains")
    assert site.kernel("probe", "state.json", "--live").returncode == 0
    assert site.kernel("probe", "state.json", "--ready").returncode == 1
    assert site.tell("ping")["state"] == "draining"
    assert worker.wait() == 0, worker.log
    assert (site.state()["state"], site.state()["reason"]) == ("dead", "SIGTERM")
    assert site.kernel("probe", "state.json").returncode == 1
    assert not socket_path.exists()


def test_a_worker_without_its_broker_is_live_and_not_ready(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.write(BUSY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # and closed again: nobody listens there
    worker = site.worker(
        "-P", "solo", "--state-file", "state.json", "--broker-connection-retry-on-startup",
        "-b", f"amqp://guest:guest@127.0.0.1:{port}//", "--result-backend", f"sqlite:///{site.folder}/results.db",
        ready=False,
    )  # fmt: skip
    until(lambda: "cannot be reached" in site.state().get("reason", ""), "the state file to say so")
    until(lambda: site.state()["loop_tick"], "the loop to tick while it is connecting")
    assert site.kernel("probe", "state.json", "--live").returncode == 0
    no = site.kernel("probe", "state.json", "--ready")
    assert no.returncode == 1
    assert "cannot be reached" in no.stderr
    assert site.tell("stats")["broker"].startswith("amqp://guest:**@")
    assert worker.stop() == 0, worker.log


def test_a_worker_that_is_stopped_or_whose_loop_hangs_is_not_live(plain_site: Any, until: Any) -> None:
    """One process stands still as a whole; in the other all threads run but the loop's, which ticks no more."""
    site = plain_site
    site.write("""
        @app.task
        def hang():
            from worker_loops.desk import Desk
            Desk.on_events = lambda self, events: time.sleep(3600)
    """)

    def live(name: str) -> bool:
        return bool(site.kernel("probe", f"{name}.json", "--live").returncode == 0)

    standing = site.worker("-P", "threads", "--state-file", "standing.json")
    until(lambda: live("standing"), "the first worker to be live")
    standing.signal(signal.SIGSTOP)
    hanging = site.worker("-P", "threads", "--state-file", "state.json")
    until(lambda: live("state"), "the second worker to be live")
    site.app.send_task("tasks.hang")
    until(lambda: not live("state"), "the hanging loop to be told", 60)
    assert not live("standing")
    assert site.tell("ping")["pong"] is True, "what does not need the loop goes on"
    assert site.state()["written"] - site.state()["loop_tick"] > 10
    standing.signal(signal.SIGCONT)
    until(lambda: live("standing"), "the first worker to be live again")
    assert standing.stop() == 0, standing.log
    hanging.signal(signal.SIGKILL)
    hanging.wait()


def test_what_is_in_quarantine_can_be_seen_sent_again_and_dropped(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.write(BUSY)
    worker = site.worker("-P", "threads")
    one, two = site.app.send_task("tasks.refuse"), site.app.send_task("tasks.unknown")
    until(lambda: site.queue_size("celery.quarantine") == 2, "both to be put aside")
    listed = json.loads(site.kernel("-b", site.url, "quarantine", "list", "--json").stdout)["quarantined"]
    assert {row["id"]: row["task"] for row in listed} == {one.id: "tasks.refuse", two.id: "tasks.unknown"}
    assert all(row["since"] and row["reason"] for row in listed)
    assert site.queue_size("celery.quarantine") == 2
    shown = json.loads(site.kernel("-b", site.url, "quarantine", "show", one.id, "--json").stdout)["quarantined"]
    assert shown[0]["headers"]["task"] == "tasks.refuse"
    assert site.kernel("-b", site.url, "quarantine", "drop", two.id).returncode == 0
    assert worker.stop() == 0, worker.log

    site.write(BUSY.replace('raise Reject("not today")', 'mark("ran")'))
    done = site.kernel("-b", site.url, "quarantine", "retry", one.id, "absent")
    assert done.stdout == "1 message retried\n"
    assert done.returncode == 2
    assert "absent" in done.stderr
    again = site.worker("-P", "threads")
    until(lambda: ["ran"] in site.lines(), "the message to be run again")
    assert again.stop() == 0, again.log
    assert site.queue_size("celery.quarantine") == 0


# -- Celery's own clients ------------------------------------------------------------------------------------------


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> str:
    """The URL of each broker that can broadcast."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return str(request.getfixturevalue("rabbitmq_url"))


@pytest.fixture
def client(broker: str) -> Iterator[celery.Celery]:
    kombu.pools.reset()  # kombu keeps connections for the process: another test's, which the broker has given up
    app = celery.Celery("client", broker=broker, set_as_current=False)
    yield app
    app.close()
    kombu.pools.reset()


@pytest.mark.leaves("descriptors", reason="kombu's Redis transport never closes the poller of a Celery client")
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("query", ["", "?hub=0"])
def test_celerys_clients_inspect_and_revoke(
    plain_site: Any, broker: str, client: celery.Celery, pool: str, query: str, until: Any
) -> None:
    site = plain_site
    site.write(BUSY)
    name, queue = f"wk-{uuid.uuid4().hex[:8]}@here", f"wk-{uuid.uuid4().hex[:8]}"
    worker = site.worker(
        "-P", pool, "-n", name, "-Q", queue, "--state-file", "state.json",
        "-b", broker + query, "--result-backend", f"sqlite:///{site.folder}/results.db",
    )  # fmt: skip
    inspect = client.control.inspect(destination=[name], timeout=10)
    try:
        assert inspect.ping() == {name: {"ok": "pong"}}
        assert inspect.registered() == {name: ["tasks.busy", "tasks.note", "tasks.refuse"]}
        assert [one["name"] for one in inspect.active_queues()[name]] == [queue]
        running = client.send_task("tasks.busy", (60,), queue=queue)
        until(lambda: inspect.active()[name], "the task to run")
        (active,) = inspect.active()[name]
        assert active["id"] == running.id
        assert (active["worker_pid"] == worker.process.pid) is (pool != "prefork")
        assert inspect.reserved() == {name: []}
        assert inspect.stats()[name]["pid"] == worker.process.pid
        assert "not offered" in inspect.conf()[name]["error"]
        running.revoke(terminate=True)
        until(lambda: not inspect.active()[name], "the task to be ended")
        client.AsyncResult("later").revoke()
        until(lambda: "later" in site.tell("revoked"), "the revocation to arrive")
        client.send_task("tasks.note", ("revoked",), task_id="later", queue=queue)
        client.send_task("tasks.note", ("other",), queue=queue)
        until(lambda: ["other"] in site.lines(), "the next task to run")
        assert worker.stop() == 0, worker.log
        assert ["revoked"] not in site.lines()
        assert ["ended"] not in site.lines()
    finally:
        with client.connection() as connection:
            connection.default_channel.queue_delete(queue)


@pytest.mark.leaves("descriptors", reason="kombu's Redis transport never closes the poller of a Celery client")
def test_quarantine_works_where_celery_sends(plain_site: Any, broker: str, client: celery.Celery, until: Any) -> None:
    site = plain_site
    site.write(BUSY)
    queue = f"wk-{uuid.uuid4().hex[:8]}"
    store = f"sqlite:///{site.folder}/results.db"

    def listed() -> list[str]:
        done = site.kernel("-b", broker, "quarantine", "list", "-Q", queue, "--json")
        return [row["id"] for row in json.loads(done.stdout)["quarantined"]]

    worker = site.worker("-P", "threads", "-Q", queue, "-b", broker, "--result-backend", store)
    try:
        one, two = (client.send_task("tasks.refuse", queue=queue, compression="zlib").id for _ in range(2))
        until(lambda: sorted(listed()) == sorted([one, two]), "both to be put aside")
        assert sorted(listed()) == sorted([one, two]), "listing leaves them where they are"
        assert worker.stop() == 0, worker.log
        assert site.kernel("-b", broker, "quarantine", "drop", two, "-Q", queue).returncode == 0
        assert site.kernel("-b", broker, "quarantine", "retry", "--all", "-Q", queue).returncode == 0
        assert listed() == []
        site.write(BUSY.replace('raise Reject("not today")', 'mark("ran")'))
        again = site.worker("-P", "threads", "-Q", queue, "-b", broker, "--result-backend", store)
        until(lambda: site.lines() == [["ran"]], "the message to be run again")
        assert again.stop() == 0, again.log
    finally:
        with client.connection() as connection:
            for name in (queue, f"{queue}.quarantine"):
                connection.default_channel.queue_delete(name)


def test_remote_control_that_was_asked_for_is_refused_where_the_broker_cannot_broadcast(plain_site: Any) -> None:
    site = plain_site
    site.write(BUSY)
    worker = site.worker("-P", "solo", ready=False, KERNEL_WORKER_ENABLE_REMOTE_CONTROL="yes")
    assert worker.wait() == 2, worker.log
    assert "cannot broadcast: use kernel control" in worker.log
    assert "Traceback" not in worker.log
