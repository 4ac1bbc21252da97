"""The consumer: connection generations, one after the other, until the worker has stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from kombu import Queue

from worker_kernel import (
    Blueprint,
    BlueprintName,
    BrokerUnavailable,
    ControlError,
    Demand,
    ExitCode,
    Hub,
    KernelError,
    OptionRefused,
    Pool,
    Step,
    StepContext,
    StepFailed,
    StopMode,
    StopRequest,
    Timers,
    Worker,
    WorkerState,
    kernel_worker_ready,
    kernel_worker_stopping,
)

from .audit import EVERY
from .connection import (
    ConsumptionStopped,
    Generation,
    StoppedWhileConnecting,
    broadcasts,
    check_heartbeats,
    ready_in,
    stopped_while_waiting,
)
from .desk import Desk
from .pools import PoolMap
from .tasks import LoopFunction, TasksStep
from .watchdog import LOOKS, Watchdog

log = logging.getLogger("worker_loops.consumer")

SHORT_LIVED = 5.0
"""Seconds that a connection has to last for the next one to be made without a pause."""
FIRST_PAUSE = 0.25
"""Seconds to wait once two connections in a row were lost at once; doubled each time."""
LONGEST_PAUSE = 2.0
"""Seconds: enough not to be a burden, and soon enough once all is well."""
LONGEST_BLOCK = 1.0
"""Seconds that a blocking drain may take at most, where signals may have to be looked for."""
UNWAKEABLE_IDLE = 0.5
"""The same on a transport that cannot be woken for a control command."""
UNWAKEABLE_BLOCK = 0.05
"""The same while jobs are in the pool, on a transport that cannot be woken when they end."""


class TaskConsumer:
    """The component of the worker's step ``consumer``; everything but `wake` runs on the loop's thread."""

    def __init__(self, worker: Worker, pool: Pool, timers: Timers, hub: Hub | None) -> None:
        self._worker = worker
        self._pools = PoolMap(pool)
        self._timers = timers
        self._hub = hub
        self._generation: Generation | None = None
        self._tasks: TasksStep | None = None
        self._ended = False
        self._deadline: float | None = None
        self._began = -SHORT_LIVED
        self._flaps = 0
        self.desk = Desk(worker, self._pools, timers)
        """All requests."""
        self.queues: dict[str, Any] = {queue.name: queue for queue in worker.app.queues()}
        """What is consumed from, by name: ``kombu.Queue``. Changed by control commands."""
        self.generations = 0
        """How many connections there have been."""
        worker.inbox.bind(self.wake)

    # -- one generation after the other ------------------------------------------------------------------------------

    def run(self) -> None:
        """See `worker_kernel.Consumer.run`."""
        if self._hub is not None and self._worker.mailbox is not None:
            self._hub.add_reader(self._worker.mailbox.fileno(), self._worker.read_signals)
        audit = self._timers.call_repeatedly(EVERY, self.desk.audit.look)
        try:
            self._run_generations()
        finally:
            audit.cancel()

    def _run_generations(self) -> None:
        patience = self._worker.settings.get_float("worker_watchdog")
        if patience:
            watchdog = Watchdog(
                watched=self, clock=self._worker.clock, calls=self._worker.loop_calls, patience=patience
            )
            self._timers.call_repeatedly(patience / LOOKS, watchdog.look)
        while not self._ended:
            blueprint = Blueprint(BlueprintName.CONSUMER, self._worker.plugins.steps, self._worker)
            lost = self._run_generation(blueprint)
            if lost is None:
                continue
            log.warning("connection to the broker lost, connecting again: %s", lost)
            self._worker.status.set_ready(False, f"the connection to the broker was lost: {lost}")
            self.desk.connection_lost([] if self._generation is None else self._generation.take_unheard())
            pause = self._pause()
            if pause and stopped_while_waiting(self._worker, pause):
                self._stop_unconnected()

    def _pause(self) -> float:
        """Return the seconds to wait before the next connection: none, unless two in a row were lost at once."""
        now = self._worker.clock.monotonic()
        self._flaps = self._flaps + 1 if now - self._began < SHORT_LIVED else 0
        self._began = now
        return 0.0 if self._flaps < 2 else min(FIRST_PAUSE * 2 ** (self._flaps - 2), LONGEST_PAUSE)

    def _run_generation(self, blueprint: Blueprint) -> BaseException | None:
        """Connect, drive the loop until the consumer ends or the connection is lost; return what the loss was."""
        losses: tuple[type[BaseException], ...] = ()
        try:
            blueprint.create()
            self._generation = cast("Generation", blueprint.component("connection"))
            losses = self._generation.losses
            blueprint.start()
            self._begin(blueprint)
            loop = cast("LoopFunction", blueprint.component("loop"))
            loop(self, self._hub)
        except StepFailed as exc:
            cause = exc.__cause__
            if self._generation is not None:
                self._generation.collect()  # the step that failed is not stopped by its blueprint
            if isinstance(cause, StoppedWhileConnecting):
                self._stop_unconnected()
                return None
            if isinstance(cause, KernelError):
                raise cause from None
            if isinstance(cause, losses):
                if self.generations:
                    return cause
                raise BrokerUnavailable(f"the broker at {self._worker.broker.url} refuses: {cause}") from cause
            raise
        except losses as exc:
            self._tasks = None
            blueprint.terminate()
            return exc
        except BaseException:
            blueprint.terminate()
            raise
        blueprint.close()
        blueprint.stop()
        return None

    def _begin(self, blueprint: Blueprint) -> None:
        self._tasks = cast("TasksStep", blueprint.component("tasks"))
        self.generations += 1
        self._began = self._worker.clock.monotonic()
        self._worker.status.tick()
        self._worker.status.set_ready(True)
        if self.generations == 1:
            log.info("%s ready", self._worker.node_name)
            self._worker.hooks.notify(kernel_worker_ready, worker=self._worker)

    # -- what the loop drives ----------------------------------------------------------------------------------------

    def pending(self) -> bool:
        """See `Drive.pending`."""
        return not self._ended

    def turn(self) -> None:
        """See `Drive.turn`."""
        if self._generation is not None and self._generation.failure is not None:
            raise self._generation.failure
        if self._hub is None:
            self._worker.read_signals()
            self._timers.fire()
        if self._worker.loop_calls:
            self._worker.loop_calls.run()
        if self._worker.inbox:
            self.desk.on_events(self._worker.inbox.take())
        if self._worker.stop_request is not None:
            self._stop()
        elif self._tasks is not None:
            self._tasks.apply_flow()
        if self._generation is not None:
            self._generation.send_acks()

    def drain(self, timeout: float) -> None:
        """See `Drive.drain`."""
        assert self._generation is not None  # noqa: S101  (a loop runs within a generation)
        self._generation.drain(timeout)

    def timeout(self) -> float:
        """See `Drive.timeout`."""
        if self._ended or self._worker.inbox or self._worker.loop_calls:
            return 0.0
        moments = [3600.0]
        if self._hub is None:
            moments = [LONGEST_BLOCK if self._can_be_woken else UNWAKEABLE_IDLE]
        due = self._timers.next_due()
        if due is not None:
            moments.append(due)
        if self._deadline is not None:
            moments.append(max(0.0, self._deadline - self._worker.clock.monotonic()))
        if self._hub is None and self.desk.busy and not self._can_be_woken:
            moments.append(UNWAKEABLE_BLOCK)
        return min(moments)

    @property
    def _can_be_woken(self) -> bool:
        return self._generation is not None and hasattr(self._generation.connection.transport, "wake")

    def wake(self) -> None:
        """See `worker_kernel.Consumer.wake`."""
        if self._hub is not None:
            self._hub.wake()
        elif self._generation is not None and self._generation.alive:
            self._generation.wake()

    # -- what the watchdog watches -----------------------------------------------------------------------------------

    @property
    def deliveries(self) -> int:
        """See `Watched.deliveries`."""
        return self.desk.deliveries

    @property
    def could_take(self) -> bool:
        """See `Watched.could_take`."""
        return self._tasks is not None and self._worker.stop_request is None and self.desk.has_room

    def depth(self) -> int:
        """See `Watched.depth`."""
        return ready_in(self._worker.app.connection(), list(self.queues))

    def rebuild(self, reason: str) -> None:
        """See `Watched.rebuild`."""
        if self._generation is not None:
            self._generation.failure = ConsumptionStopped(reason)

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """See `Watched.set_ready`."""
        self._worker.status.set_ready(ready, reason)

    def request_stop(self, request: StopRequest) -> None:
        """See `Watched.request_stop`."""
        self._worker.request_stop(request)

    # -- control -----------------------------------------------------------------------------------------------------

    def add_queue(self, name: str) -> None:
        """Consume from one more queue, also on connections to come.

        Raises:
            ControlError: the broker refuses it; the connection is made anew without it.
        """
        queue = self.queues.setdefault(name, Queue(name))
        if self._tasks is None or self._generation is None or self._worker.stop_request is not None:
            return
        try:
            self._tasks.consume_from(queue)
        except self._generation.losses as exc:
            del self.queues[name]
            self._generation.failure = exc
            raise ControlError("refused", f"the broker refuses queue {name!r}: {exc}") from exc

    def cancel_queue(self, name: str) -> bool:
        """Consume no more from a queue; returns whether it was consumed from."""
        known = self.queues.pop(name, None)
        if known is not None and self._tasks is not None:
            self._tasks.cancel_queue(name)
        return known is not None

    # -- stopping ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Warm: finish what runs, within the grace. Cold, or when it is over: end it and hand it back."""
        request = self._worker.stop_request
        assert request is not None  # noqa: S101  (the caller looked)
        now = self._worker.clock.monotonic()
        if self._deadline is None:
            grace = self._worker.settings.get_float("worker_grace")
            self._deadline = now + (float("inf") if grace is None else grace)
            self._worker.status.enter(WorkerState.QUIET, request.reason)
            self._worker.hooks.notify(kernel_worker_stopping, worker=self._worker)
            if self._tasks is not None:
                self._tasks.pause()
            self.desk.drain()
            if self.desk.busy and request.mode is StopMode.WARM:
                self._worker.status.enter(WorkerState.DRAINING)
                log.info("waiting up to %.0f s for %d running task(s)", self._deadline - now, self.desk.busy)
        if not self.desk.busy:
            self._ended = True
        elif request.mode is StopMode.COLD or now >= self._deadline:
            self._stop_cold()

    def _stop_unconnected(self) -> None:
        """Stop as ever, without a broker to tell: what it has delivered, it delivers again once we are gone."""
        self._tasks = None
        while not self._ended:
            self._worker.read_signals()
            self._worker.status.tick()
            self._timers.fire()
            if self._worker.loop_calls:
                self._worker.loop_calls.run()
            if self._worker.inbox:
                self.desk.on_events(self._worker.inbox.take())
            self._stop()
            if not self._ended:
                self._worker.clock.sleep(UNWAKEABLE_BLOCK)

    def _stop_cold(self) -> None:
        worker = self._worker
        worker.status.enter(WorkerState.CANCELLING)
        self.desk.abandon(self._pools.terminate, worker.inbox.take)
        if self.desk.handed_back:
            worker.exit_code = max(worker.exit_code, ExitCode.HANDED_BACK)
        if self._pools.still_running():
            reason = "what still runs cannot be ended"
            worker.request_stop(StopRequest(mode=StopMode.COLD, reason=reason, at_once=True))
        self._ended = True

    def demand(self) -> Demand:
        """See `worker_kernel.Consumer.demand`."""
        runtime = self.desk.flow.buffer.pace.average
        return Demand(waiting=self.desk.waiting, runtime=runtime, queues=tuple(self.queues))

    def statistics(self) -> Mapping[str, object]:
        """See `worker_kernel.Consumer.statistics`."""
        return {"generations": self.generations, **self.desk.statistics()}


class ConsumerStep(Step):
    """The worker's step ``consumer``; `TaskConsumer.run` is called by the worker once all steps have started."""

    def __init__(self) -> None:
        self._consumer: TaskConsumer | None = None

    def create(self, ctx: StepContext) -> TaskConsumer:
        """Make the consumer; nothing is connected yet.

        Raises:
            OptionRefused: remote control was asked for, and the broker cannot broadcast; or heartbeats were, and
                cannot be kept up.
        """
        _check_remote_control(ctx.worker)
        check_heartbeats(ctx.worker)
        pool = ctx.get("pool", Pool)  # type: ignore[type-abstract]  # only its instances are meant
        timers = ctx.get("timer", Timers)  # type: ignore[type-abstract]  # a protocol
        hub = ctx.find("hub", Hub)  # type: ignore[type-abstract]  # a protocol
        self._consumer = TaskConsumer(ctx.worker, pool, timers, hub)
        return self._consumer

    def info(self) -> Mapping[str, object]:
        """Return the counts of requests."""
        return {} if self._consumer is None else self._consumer.statistics()


def _check_remote_control(worker: Worker) -> None:
    """Refuse remote control on a broker that cannot broadcast, where somebody asked for it; by default it is absent."""
    name = "worker_enable_remote_control"
    settings = worker.settings
    if not (settings.given(name) and settings.get_bool(name)) or broadcasts(worker):
        return
    reason = f"the broker {worker.broker.driver} cannot broadcast: use kernel control"
    if not settings.get_bool("worker_best_effort"):
        raise OptionRefused(settings.spelled(name), "", reason)
    log.warning("%s is left out: %s", settings.spelled(name), reason)
