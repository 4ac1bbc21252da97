"""The consumer over kombu's in-memory transport: generations come and go, stops are carried out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from kombu import Connection, Queue

from worker_kernel import (
    Application,
    BrokerInfo,
    BrokerUnavailable,
    Envelope,
    LoopSpec,
    OutcomeKind,
    Plugins,
    StepSpec,
    StopMode,
    StopRequest,
    TaskOptions,
    Worker,
    implements,
    kernel_worker_ready,
    kernel_worker_stopping,
)
from worker_kernel.plugins.declarations import Declared
from worker_loops import steps
from worker_loops.consumer import TaskConsumer


class Broker:
    """An application's side of the broker, whose connections fail when told to."""

    name = "memory"

    def __init__(self, jobs: Any) -> None:
        self.queue = f"q{uuid.uuid4().hex}"
        self.connections: list[Any] = []
        self.refuse = 0
        self.on_drain: list[Callable[[], None]] = []
        self._jobs = jobs

    def tasks(self) -> dict[str, TaskOptions]:
        return {"t": TaskOptions(name="t")}

    def queues(self) -> list[Queue]:
        return [Queue(self.queue)]

    def connection(self) -> Any:
        connection = Connection("memory://", transport_options={"polling_interval": 0.01})
        drain, connect = connection.drain_events, connection.connect

        def scripted_drain(timeout: float) -> None:
            if self.on_drain:
                self.on_drain.pop(0)()
            drain(timeout=min(timeout, 0.01))

        def scripted_connect() -> Any:
            if self.refuse:
                self.refuse -= 1
                raise ConnectionRefusedError("nobody there")
            return connect()

        connection.drain_events, connection.connect = scripted_drain, scripted_connect
        self.connections.append(connection)
        return connection

    def parse(self, message: Any) -> Envelope:
        return Envelope(
            id=json.loads(message.body)["id"],
            task="t",
            queue=self.queue,
            headers=message.headers,
            body=message.body,
            content_type=message.content_type,
            content_encoding="utf-8",
            properties=message.properties,
            delivery_info=message.delivery_info,
            redelivered=bool(message.headers.get("redelivered")),
        )

    def job(self, envelope: Envelope, options: TaskOptions) -> Any:
        return self._jobs(envelope)

    def send(self, task_id: str, **headers: Any) -> None:
        with Connection("memory://") as connection, connection.Producer() as producer:
            producer.publish({"id": task_id}, routing_key=self.queue, declare=[Queue(self.queue)], headers=headers)

    def left(self) -> int:
        with Connection("memory://") as connection:
            return int(connection.default_channel.queue_declare(self.queue, passive=True).message_count)


class Rig:
    """A worker's surroundings, with the consumer in the middle."""

    def __init__(self, conftest: Any, **settings: object) -> None:
        self.office = office = conftest(**settings)
        self.broker = Broker(lambda envelope: type(office).job(envelope))
        self.pool = office.pool
        self.worker: Any = office.worker
        self.worker.app = cast("Application", self.broker)
        self.worker.platform = None
        self.worker.mailbox = None
        self.worker.stop_request = None
        self.worker.exit_code = 0
        self.worker.node_name = "kernel@test"
        self.worker.broker = BrokerInfo(url="memory://", driver="memory", asynchronous=False)
        self.worker.read_signals = lambda: None
        self.worker.request_stop = self.request_stop
        self.worker.plugins = Plugins(declared=[Declared(steps=tuple(_owned(step) for step in steps()))])
        self.worker.loop_spec = LoopSpec(name="synloop", factory="worker_loops.synloop:synloop", asynchronous=False)
        self.consumer = TaskConsumer(cast("Worker", self.worker), self.pool, office.timers, None)
        components = {"timer": office.timers, "consumer": self.consumer}
        self.worker.blueprint = type("Blueprint", (), {"component": staticmethod(components.get)})()

    def request_stop(self, request: StopRequest) -> None:
        self.worker.stop_request = request

    def stop(self, mode: StopMode = StopMode.WARM) -> None:
        self.request_stop(StopRequest(mode=mode, reason="test"))

    def script(self, *actions: Callable[[], None]) -> None:
        """What happens at the first, second, ... drain."""
        self.broker.on_drain += actions


def _owned(step: StepSpec) -> StepSpec:
    import attrs

    return attrs.evolve(step, owner="worker-loops")


def nothing() -> None:
    """A drain in which nothing happens."""


@pytest.fixture
def rig(office: Any) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**settings: object) -> Rig:
        defaults = {
            "broker_connection_retry": True,
            "broker_connection_retry_on_startup": False,
            "broker_connection_max_retries": 100,
        }
        rigs.append(Rig(office, **{**defaults, **settings}))
        return rigs[-1]

    yield make
    for made in rigs:
        for connection in made.broker.connections:
            connection.close()


def lose() -> None:
    raise Connection("memory://").connection_errors[0]("cable pulled")


def test_it_consumes_runs_and_settles_until_it_is_stopped(rig: Any) -> None:
    r = rig()
    r.broker.send("1")
    r.script(nothing, lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED), nothing, r.stop)
    r.consumer.run()
    assert r.consumer.statistics()["settled"] == {"acknowledged": 1}
    assert r.broker.left() == 0


def test_hooks_see_it_ready_once_and_stopping_once(rig: Any) -> None:
    seen: list[str] = []

    class Watcher:
        @staticmethod
        @implements(kernel_worker_ready)
        def ready() -> None:
            seen.append("ready")

        @staticmethod
        @implements(kernel_worker_stopping)
        def stopping() -> None:
            seen.append("stopping")

    r = rig()
    r.worker.hooks.manager.register(Watcher())
    r.script(lose, r.stop)
    r.consumer.run()
    assert seen == ["ready", "stopping"]


def test_a_lost_connection_is_replaced_and_what_ran_is_adopted(rig: Any) -> None:
    r = rig()
    r.broker.send("1")
    r.script(
        nothing,
        lose,
        lambda: r.broker.send("1", redelivered=True),
        nothing,
        lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED),
        nothing,
        r.stop,
    )
    r.consumer.run()
    assert r.consumer.generations == 2
    assert r.consumer.statistics()["settled"] == {"acknowledged": 1}
    assert not r.office.timers.pending


class Gathered:
    """Stands for the acknowledgements of an AMQP channel, all of which are one request's."""

    def __init__(self) -> None:
        self.unheard = [("ended", 0)]
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1

    def take_unheard(self) -> list[tuple[str, int]]:
        taken, self.unheard = self.unheard, []
        return taken


def test_acknowledgements_are_sent_before_the_loop_waits(rig: Any) -> None:
    r, gathered, seen = rig(), Gathered(), list[int]()

    def gather() -> None:
        r.consumer._generation.acks = gathered

    r.script(gather, lambda: seen.append(gathered.flushes), r.stop)
    r.consumer.run()
    assert seen == [1]
    assert gathered.flushes > 1


def test_what_was_acknowledged_when_the_connection_was_lost_does_not_run_again(rig: Any) -> None:
    r = rig()

    def lose_with_unheard() -> None:
        r.consumer._generation.acks = Gathered()
        lose()

    r.script(lose_with_unheard, lambda: r.broker.send("ended", redelivered=True), nothing, r.stop)
    r.consumer.run()
    assert (r.pool.jobs, r.pool.accepted, r.broker.left()) == ([], set(), 0)
    assert r.consumer.statistics()["settled"] == {"acknowledged": 1}


def test_twenty_losses_leave_nothing_behind(rig: Any) -> None:
    r = rig()
    r.script(*[lose] * 20, r.stop)
    r.consumer.run()
    assert r.consumer.generations == 21
    assert not r.office.timers.pending
    assert all(connection._closed or not connection.connected for connection in r.broker.connections)


def test_a_broker_that_is_not_there_at_start_ends_the_worker(rig: Any) -> None:
    r = rig()
    r.broker.refuse = 1
    with pytest.raises(BrokerUnavailable, match=r"memory:// cannot be reached: nobody there\n.*-b") as info:
        r.consumer.run()
    assert info.value.exit_code == 5


def test_retrying_at_start_can_be_asked_for(rig: Any) -> None:
    r = rig(broker_connection_retry_on_startup=True)
    r.office.clock.monotonic = iter(range(0, 10_000, 50)).__next__
    r.broker.refuse = 2
    r.script(r.stop)
    r.consumer.run()
    assert r.consumer.generations == 1


def test_reconnecting_is_given_up_after_the_configured_attempts(rig: Any) -> None:
    r = rig(broker_connection_max_retries=3)
    r.office.clock.monotonic = iter(range(0, 10_000, 50)).__next__

    def lose_for_good() -> None:
        r.broker.refuse = 99
        lose()

    r.script(lose_for_good)
    with pytest.raises(BrokerUnavailable):
        r.consumer.run()
    assert r.broker.refuse == 96


def test_a_stop_while_reconnecting_ends_it(rig: Any) -> None:
    r = rig()

    def lose_and_stop() -> None:
        r.broker.refuse = 99
        r.stop()
        lose()

    r.script(lose_and_stop)
    r.consumer.run()
    assert r.worker.exit_code == 0


def test_a_warm_stop_waits_for_what_runs_and_then_ends(rig: Any) -> None:
    r = rig()
    r.broker.send("1")
    r.script(
        lambda: None,
        lambda: (r.pool.accept(r.pool.jobs[0]), r.stop())[0],
        nothing,
        lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED),
    )
    r.consumer.run()
    assert r.consumer.statistics()["settled"] == {"acknowledged": 1}
    assert r.worker.exit_code == 0


def test_past_its_grace_a_warm_stop_is_cold_and_the_exit_code_says_so(rig: Any) -> None:
    r = rig(worker_grace=5.0)
    r.broker.send("1")

    def much_later() -> None:
        r.office.clock.now += 6

    r.script(nothing, lambda: (r.pool.accept(r.pool.jobs[0]), r.stop())[0], nothing, much_later)
    r.consumer.run()
    assert (r.worker.exit_code, r.broker.left()) == (8, 1)


def test_a_message_that_breaks_the_parser_is_quarantined_and_the_worker_lives(rig: Any) -> None:
    r = rig()
    r.broker.parse = lambda message: 1 / 0
    r.broker.send("1")
    r.script(nothing, nothing, r.stop)
    r.consumer.run()
    with Connection("memory://") as connection:
        kept = connection.default_channel.basic_get("celery.quarantine") or connection.default_channel.basic_get(
            f"{r.broker.queue}.quarantine"
        )
    assert kept is not None
    assert kept.headers["x-kernel-quarantine"] == "internal error"


def test_a_compressed_body_reaches_the_job_compressed(rig: Any) -> None:
    r = rig()
    seen: list[Any] = []

    def parse(message: Any) -> Envelope:
        seen.append((message.headers["compression"], bytes(message.raw_body)))
        return Broker.parse(
            r.broker,
            type(
                "M",
                (),
                {
                    **vars(message),
                    "body": '{"id": "1"}',
                    "headers": {},
                    "content_type": "",
                    "properties": {},
                    "delivery_info": {},
                },
            )(),
        )

    r.broker.parse = parse
    with Connection("memory://") as connection, connection.Producer() as producer:
        producer.publish(
            {"id": "1" * 1000}, routing_key=r.broker.queue, declare=[Queue(r.broker.queue)], compression="zlib"
        )
    r.script(nothing, r.stop)
    r.consumer.run()
    ((compression, body),) = seen
    assert compression == "application/x-gzip"
    assert len(body) < 100


def test_the_status_says_whether_messages_are_taken_and_how_the_stop_goes(rig: Any) -> None:
    r = rig()
    seen: list[tuple[str, bool]] = []
    r.worker.status.watch(lambda now: seen.append((str(now.state), now.ready)))
    r.broker.send("1")
    end = lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED)  # noqa: E731
    r.script(lose, nothing, r.stop, nothing, end)
    r.consumer.run()
    assert seen == [("running", True), ("running", False), ("running", True), ("quiet", False), ("draining", False)]
    assert "cable pulled" not in r.worker.status.snapshot().reason


def test_the_watchdog_has_the_connection_made_anew(rig: Any) -> None:
    r = rig()
    r.broker.send("1")
    r.script(
        nothing,
        lambda: r.consumer.rebuild("nothing arrives"),
        lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED),
        nothing,
        r.stop,
    )
    r.consumer.run()
    assert r.consumer.generations == 2
    assert len(r.broker.connections) == 2


def test_it_could_take_a_message_only_while_it_consumes_with_a_slot_free(rig: Any) -> None:
    r = rig()
    answers: list[bool] = [r.consumer.could_take]

    def look() -> None:
        answers.append(r.consumer.could_take)

    for one in "12":
        r.broker.send(one)

    def end() -> None:
        for job in list(r.pool.jobs):
            r.pool.finish(job, OutcomeKind.SUCCEEDED)

    r.script(look, nothing, nothing, look, end, look, r.stop)
    r.consumer.run()
    look()
    assert answers == [False, True, False, True, False]


def test_a_queue_that_is_added_is_consumed_from_on_later_connections_as_well(rig: Any) -> None:
    r = rig()
    other = Broker(None)
    other.send("1")
    r.script(lambda: r.consumer.add_queue(other.queue), lose, nothing, nothing)
    r.script(lambda: r.pool.finish(r.pool.jobs[0], OutcomeKind.SUCCEEDED), nothing)
    r.script(lambda: r.consumer.cancel_queue(other.queue), lambda: other.send("2"), nothing, r.stop)
    r.consumer.run()
    assert list(r.consumer.queues) == [r.broker.queue]
    assert other.left() == 1
