"""One generation of a connection: everything that it registers is dropped with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from worker_kernel import (
    BrokerUnavailable,
    Clock,
    Hub,
    HubScope,
    OptionRefused,
    Step,
    StepContext,
    SystemClock,
    TimerHandle,
    Timers,
    Upkeep,
    Worker,
    keep_compressed,
    queue_depth,
)

from .acks import Acks
from .amqp_reader import AmqpReader
from .courier import Courier
from .ladder import Ladder
from .lifeline import Lifeline

log = logging.getLogger("worker_loops.connection")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 8.0
"""Seconds: a broker that is back is found within 10, and one attempt in 8 is no burden to it."""
HEARTBEAT_RATE = 3.0
"""How often to look within one heartbeat interval; Celery's ``broker_heartbeat_checkrate``."""


class ConsumptionStopped(ConnectionError):
    """The watchdog found a connection that delivers nothing; it counts as lost."""


class Generation:
    """A connection and what belongs to it: channel, file descriptors, ticks, timers. Owned by the loop's thread."""

    def __init__(
        self,
        connection: Any,
        hub: Hub | None,
        timers: Timers,
        *,
        courier: Courier | None = None,
        ladder: Ladder | None = None,
        upkeep: Upkeep | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        self.courier = courier
        """What sends copies of messages, where the broker is AMQP's."""
        self.ladder = ladder
        """Where messages can wait in the broker, where it is AMQP's."""
        self.alive = True
        self.scope: HubScope | None = None if hub is None else hub.scope()
        self.timers: Timers = timers if self.scope is None else self.scope.timers
        self.channel: Any = None
        self.acks: Acks | None = None
        """What gathers the acknowledgements of the channel, where the broker is AMQP's."""
        self.failure: BaseException | None = None
        """A loss that a heartbeat has found, for the loop to raise."""
        self._heartbeat: TimerHandle | None = None
        self._upkeep = upkeep
        self._clock = clock or SystemClock()
        self._beaten = 0.0
        self._lifeline: Lifeline | None = None
        self._cut: Callable[[], None] | None = None
        self._reader: AmqpReader | None = None

    def open(self) -> None:
        """Open the channel and put the transport on the hub, where there is one."""
        self.channel = self.connection.channel()
        keep_compressed(self.channel)
        if self.is_amqp:
            self.acks = Acks(self.channel)
            self._reader = AmqpReader(self.connection.connection)
        if self.scope is not None:
            self.scope.transport_hub.propagate_errors = (OSError, *self.losses)
            if self._reader is not None:
                self._reader.watch(self.scope.transport_hub)
            else:
                transport = self.connection.transport
                transport.register_with_event_loop(self.connection.connection, self.scope.transport_hub)
        interval = self.connection.get_heartbeat_interval()
        if interval:
            self._heartbeat = self.timers.call_repeatedly(interval / HEARTBEAT_RATE, self._beat)
            self._beaten = self._clock.monotonic()
            if self._upkeep is not None and self.is_amqp and not self.is_secured:
                self._lifeline = Lifeline(self.connection.connection.transport, interval, self._clock)
                self._cut = self._upkeep.add(self._lifeline.beat)

    def read_ahead(self) -> None:
        """Take what was read with the answer to ``consume``: it is in a buffer, of which no poller knows."""
        if self._reader is not None:
            self._reader.soon()

    def drain(self, timeout: float) -> None:
        """Wait for deliveries up to ``timeout`` seconds (>= 0), and have them dealt with. For loops without a hub."""
        if self._reader is not None:
            self._reader.drain(timeout)
            return
        try:
            self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            pass  # nothing came

    @property
    def is_amqp(self) -> bool:
        """Whether the broker speaks AMQP."""
        return bool(self.connection.transport.driver_type == "amqp")

    @property
    def is_secured(self) -> bool:
        """Whether the connection is TLS."""
        return bool(self.connection.ssl)

    def _beat(self) -> None:
        beaten, self._beaten = self._beaten, self._clock.monotonic()
        if self._lifeline is not None and self._beaten - beaten > self.connection.get_heartbeat_interval():
            # Nobody listened for so long: what the broker has sent is still to be read, so its time begins anew.
            self.connection.connection.last_heartbeat_received = self._clock.monotonic()
        try:
            self.connection.heartbeat_check(HEARTBEAT_RATE)
        except self.losses as exc:
            self.failure = exc

    @property
    def losses(self) -> tuple[type[BaseException], ...]:
        """What it means when one of these is raised: this generation is lost, and a new one may do."""
        return (ConsumptionStopped, *self.connection.connection_errors, *self.connection.channel_errors)

    def flush(self) -> None:
        """Make settlements take effect now, where they are batched."""
        self.send_acks()
        flush = getattr(self.connection.transport, "flush", None)
        if flush is not None and self.alive:
            flush()

    def send_acks(self) -> None:
        """Send the acknowledgements that were gathered: AMQP's. To be called before the loop waits."""
        if self.acks is not None and self.alive:
            self.acks.flush()

    def take_unheard(self) -> list[tuple[str, int]]:
        """Return, once, the keys of the requests whose acknowledgement the broker may not have heard."""
        return [] if self.acks is None else self.acks.take_unheard()

    def wake(self) -> bool:
        """End a blocking `drain` soon; False where the transport cannot. Callable from any thread."""
        wake = getattr(self.connection.transport, "wake", None)
        if wake is None:
            return False
        wake()
        return True

    def close(self) -> None:
        """Close the connection and drop what was registered. Never raises; idempotent."""
        if not self.alive:
            return
        try:
            self.send_acks()
            self.connection.close()
        except (OSError, *self.connection.connection_errors, *self.connection.channel_errors) as exc:
            log.info("closing the connection failed: %s", exc)
        finally:
            if self.courier is not None:
                self.courier.close()
            self._drop()

    def collect(self) -> None:
        """Drop a connection that is lost, without a word to the broker. Never raises; idempotent."""
        try:
            self.connection.collect()
            if self.courier is not None:
                self.courier.collect()
        finally:
            self._drop()

    def _drop(self) -> None:
        self.alive = False
        if self._cut is not None:
            self._cut()
        if self._lifeline is not None:
            self._lifeline.close()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self.scope is not None:
            self.scope.drop()


def check_heartbeats(worker: Worker) -> None:
    """Refuse heartbeats over TLS where tasks can hold the loop: nothing could send them meanwhile.

    Raises:
        OptionRefused: they were asked for, and not as best effort.
    """
    name = "broker_heartbeat"
    settings = worker.settings
    connection = worker.app.connection()
    amqp = connection.get_transport_cls().driver_type == "amqp"
    if not (worker.pool_spec.capabilities.is_green and amqp and connection.ssl and settings.get_float(name)):
        return
    reason = "over TLS nothing can send heartbeats while a task holds the loop: use --processes"
    if settings.given(name) and not settings.get_bool("worker_best_effort"):
        raise OptionRefused(settings.spelled(name), worker.pool_spec.name, reason)
    log.warning("%s: %s", settings.spelled(name), reason)


def broadcasts(worker: Worker) -> bool:
    """Whether the broker's transport has fanout exchanges. Nothing is connected."""
    transport = worker.app.connection().get_transport_cls()
    return "fanout" in transport.implements.exchange_type


def ready_in(connection: Any, queues: list[str]) -> int:
    """Return how many messages could be delivered now from ``queues``, over ``connection``, which is closed.

    See `queue_depth`. May block, and raises what the connection raises.
    """
    with connection:
        return queue_depth(connection, queues).ready


class StoppedWhileConnecting(Exception):
    """A stop was requested before the broker could be reached."""


class ConnectionStep(Step):
    """Connects, with retries as the settings have it; its component is the `Generation`."""

    def __init__(self) -> None:
        self._generation: Generation | None = None
        self._worker: Worker | None = None

    def create(self, ctx: StepContext) -> Generation:
        """Make an unconnected generation."""
        worker = self._worker = ctx.worker
        hub = cast("Hub | None", worker.blueprint.component("hub"))
        timers = cast("Timers", worker.blueprint.component("timer"))
        connection = worker.app.connection()
        courier = ladder = None
        if connection.transport.driver_type == "amqp":
            # To the same one of several brokers; and nobody would send its heartbeats.
            courier = Courier(lambda: connection.clone(heartbeat=0))
            queue_type = worker.settings.get_str("broker_native_delayed_delivery_queue_type") or "quorum"
            ladder = Ladder(courier, queue_type)
        upkeep = worker.upkeep if worker.pool_spec.capabilities.is_green else None
        self._generation = Generation(
            connection, hub, timers, courier=courier, ladder=ladder, upkeep=upkeep, clock=worker.clock
        )
        return self._generation

    def start(self) -> None:
        """Connect and open the channel.

        Raises:
            BrokerUnavailable: the broker cannot be reached and retrying is off or exhausted.
            StoppedWhileConnecting: the worker was told to stop meanwhile.
        """
        assert self._generation is not None  # noqa: S101  (create comes first)
        assert self._worker is not None  # noqa: S101
        try:
            connect(self._generation.connection, self._worker)
            self._generation.open()
        except BaseException:
            self._generation.collect()  # a step that did not start is not stopped
            raise
        log.info("connected to %s", self._worker.broker.url)

    def stop(self) -> None:
        """Close the connection; what it still holds goes back to the queue."""
        if self._generation is not None:
            self._generation.close()

    def terminate(self) -> None:
        """Drop a connection that is lost."""
        if self._generation is not None:
            self._generation.collect()

    def info(self) -> Mapping[str, object]:
        """Return what the connection is to."""
        return {"broker": "" if self._worker is None else self._worker.broker.url}


def connect(connection: Any, worker: Worker) -> None:
    """Connect; between attempts wait, first `FIRST_PAUSE` seconds, at most `LONGEST_PAUSE`, unless told to stop.

    Raises:
        BrokerUnavailable: see `ConnectionStep.start`.
    """
    settings = worker.settings
    first = getattr(worker.blueprint.component("consumer"), "generations", 0) == 0
    retry = settings.get_bool("broker_connection_retry_on_startup" if first else "broker_connection_retry")
    most = settings.get_int("broker_connection_max_retries")
    pause = FIRST_PAUSE
    attempt = 0
    while True:
        attempt += 1
        try:
            connection.connect()
        except (OSError, *connection.connection_errors, *connection.channel_errors) as exc:
            cause = exc
            if not isinstance(exc, connection.recoverable_connection_errors):
                connection.maybe_switch_next()  # kombu tries the next one only where this one cannot be reached
        else:
            return
        option = "--broker-connection-retry-on-startup" if first else "broker_connection_retry"
        remedy = f"start the broker or correct the URL (-b, broker_url); to keep trying: {option}"
        if not retry or (most and attempt >= most):
            raise BrokerUnavailable(
                f"the broker at {worker.broker.url} cannot be reached: {cause}\n{remedy}"
            ) from cause
        worker.status.set_ready(False, f"the broker cannot be reached: {cause}")
        log.error("cannot connect to %s: %s; trying again in %.0f s (%d)", worker.broker.url, cause, pause, attempt)
        if stopped_while_waiting(worker, pause):
            raise StoppedWhileConnecting from cause
        pause = min(pause * 2, LONGEST_PAUSE)


def stopped_while_waiting(worker: Worker, seconds: float) -> bool:
    """Wait, looking for a stop request twice a second: there is no loop yet that could be woken."""
    deadline = worker.clock.monotonic() + seconds
    while worker.clock.monotonic() < deadline:
        worker.read_signals()
        worker.status.tick()
        worker.loop_calls.run()
        if worker.stop_request is not None:
            return True
        worker.clock.sleep(min(0.5, max(0.0, deadline - worker.clock.monotonic())))
    return worker.stop_request is not None
