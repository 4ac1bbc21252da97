"""The worker: one application, one pool, one consumer, and their life from boot to exit code."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import uuid

from .application import Application, BrokerInfo
from .blueprint import Blueprint
from .bootsteps import BlueprintName
from .clock import Clock, SystemClock
from .control.registry import Commands
from .errors import ExitCode, KernelBug, KernelError, MissingRequirement, StepFailed
from .hookspecs import kernel_choose_loop, kernel_worker_init, kernel_worker_stopped
from .inbox import PoolInbox
from .loop import Consumer, LoopSpec, StopMode, StopRequest
from .loopcalls import LoopCalls
from .platforms import Platform, current
from .plugins.loading import Plugins
from .pool import Pool, PoolSpec
from .poolstep import PoolStep
from .settings import Settings
from .signals import SignalMailbox
from .slots import Slots
from .status import Status, WorkerState
from .upkeep import Upkeep

log = logging.getLogger("worker_kernel.worker")


class Worker:
    """Runs the tasks of one application on one pool.

    Several workers may live in one process; only one that runs in the main thread handles signals. Everything but
    `request_stop` belongs to the thread that calls `run`.
    """

    slots: Slots
    """The right to run jobs; there once the step ``pool`` is created."""
    inbox: PoolInbox
    """What the pool tells; there once the step ``pool`` is created."""

    def __init__(
        self,
        app: Application,
        settings: Settings,
        plugins: Plugins,
        *,
        pool: PoolSpec,
        platform: Platform | None = None,
        clock: Clock | None = None,
        sole: bool = False,
    ) -> None:
        """Put a worker together. Nothing is connected, opened or started before `run`.

        Args:
            app: what to run.
            settings: the effective settings, negotiated with the pool.
            plugins: the plugins of this process.
            pool: the chosen pool.
            platform: where the worker believes to be; None: where it is.
            clock: where the time comes from; None: the system's.
            sole: whether the process is this worker's alone. Then the pool may get ahead (`Pool.get_ahead`), and once
                everything has been started the collector is turned on, which leaves alone for good what there is by
                then.
        """
        self.app = app
        self.settings = settings
        self.plugins = plugins
        self.hooks = plugins.hooks
        self.sole = sole
        self.pool_spec = pool
        self.platform = platform or current()
        self.clock: Clock = clock or SystemClock()
        self.born = self.clock.monotonic()
        """Time of the clock at which the worker was made."""
        self.nonce = uuid.uuid4().hex[:8]
        self.node_name = node_name(settings.get_str("worker_hostname") or "kernel@%h", self.platform.hostname)
        self.stop_request: StopRequest | None = None
        self.exit_code = 0
        self.status = Status(self.clock.wall)
        """How the worker is, for probes and control."""
        self.loop_calls = LoopCalls(self._wake)
        """What other threads want done on the loop's thread, which runs them once per turn."""
        self.commands = Commands(self)
        """What the worker can be told to do while it runs."""
        self.upkeep = Upkeep()
        """What must go on while a task keeps the loop from turning."""
        self.mailbox: SignalMailbox | None = None
        self._consumer: Consumer | None = None
        self._failure: BaseException | None = None
        self._lock = threading.RLock()
        app.configure(settings, plugins, join_blocks=pool.capabilities.join_blocks)
        self.broker: BrokerInfo = app.broker()
        self.loop_spec: LoopSpec | None = self._choose_loop()
        self.blueprint = Blueprint(BlueprintName.WORKER, plugins.steps, self)

    @property
    def concurrency(self) -> int:
        """How many slots the pool starts with."""
        return self.settings.get_int("worker_concurrency") or 1

    @property
    def use_event_loop(self) -> bool:
        """Whether the hub drives the worker."""
        return self.loop_spec is not None and self.loop_spec.asynchronous

    def _choose_loop(self) -> LoopSpec | None:
        """Return the loop to run, or None where no plugin has one (then the step ``consumer`` is missing as well)."""
        loops = self.plugins.loops
        asynchronous = self.broker.asynchronous and any(step.name == "hub" for step in self.plugins.steps)
        patched = self.pool_spec.capabilities.is_green
        chosen = self.hooks.first(
            kernel_choose_loop, asynchronous=asynchronous, patched=patched, windows=self.platform.windows
        )
        if chosen is not None:
            if chosen not in loops:
                raise KernelBug(f"a plugin chose the loop {chosen!r}, which no plugin declares")
            return loops[chosen]
        want = asynchronous and not patched and not self.platform.windows
        for name in sorted(loops):
            if loops[name].asynchronous is want:
                return loops[name]
        return None

    def request_stop(self, request: StopRequest) -> None:
        """Ask the worker to stop. Callable from any thread; later requests can only make the stop colder."""
        with self._lock:
            known = self.stop_request
            if known is not None:
                request = StopRequest(
                    mode=max(known.mode, request.mode),
                    reason=request.reason if request.mode > known.mode else known.reason,
                    exit_code=max(known.exit_code, request.exit_code),
                    at_once=known.at_once or request.at_once,
                )
                if request == known:
                    return
            self.stop_request = request
        log.info("%s stop requested: %s", "warm" if request.mode is StopMode.WARM else "cold", request.reason)
        if self._consumer is not None:
            self._consumer.wake()

    def on_signal(self, name: str) -> None:
        """Turn a stop signal into a stop request: the first interrupt is warm, the second cold."""
        meaning = self.platform.stop_signals.get(name)
        if meaning == "interrupt":
            meaning = "warm" if self.stop_request is None else "cold"
            if meaning == "warm":
                log.warning("stopping warmly; interrupt again to stop at once and hand back running work")
        if meaning is not None:
            mode = StopMode.COLD if meaning == "cold" else StopMode.WARM
            self.request_stop(StopRequest(mode=mode, reason=name))

    def read_signals(self) -> None:
        """Act on the signals that have arrived. Called on the loop's thread."""
        if self.mailbox is not None:
            for name in self.mailbox.read():
                self.on_signal(name)

    def run(self) -> int:
        """Boot, consume until told to stop, stop, and return the exit code.

        Raises:
            KernelError: the worker could not boot or go on; ``exit_code`` of the error is the process's.
        """
        if not any(step.name == "consumer" for step in self.plugins.steps):
            absent = self.plugins.why_absent("consumer") or ""
            hint = self.plugins.install_hint("consumer")
            raise MissingRequirement("worker", "consumer", "worker-kernel", hint, absent=absent)
        pool = self.blueprint.step("pool")
        if self.sole and isinstance(pool, PoolStep):
            pool.get_ahead(self)
        if threading.current_thread() is threading.main_thread():
            self.mailbox = SignalMailbox(self.platform.stop_signals, wake=self._wake)
            with self.mailbox:
                return self._run()
        return self._run()

    def _run(self) -> int:
        self.hooks.call(kernel_worker_init, worker=self)
        try:
            self.app.check_result_store()
            self._boot()
            try:
                self._consume()
            finally:
                self._shut_down()
        except BaseException as exc:
            self.exit_code = exc.exit_code if isinstance(exc, KernelError) else ExitCode.FAULT
            raise
        finally:
            self.app.close()
            self.hooks.notify(kernel_worker_stopped, worker=self, exit_code=self.exit_code)
        return self.exit_code

    def _boot(self) -> None:
        try:
            self.blueprint.create()
            self.blueprint.start()
        except StepFailed as exc:
            if isinstance(exc.__cause__, KernelError):
                raise exc.__cause__ from None  # it says what to do, and has the better exit code
            raise
        if self.sole:
            gc.freeze()
            gc.enable()

    def _shut_down(self) -> None:
        self.blueprint.close()
        if self.stop_request is not None and self.stop_request.mode is StopMode.COLD:
            self.blueprint.terminate()
        else:
            self.blueprint.stop()

    def _consume(self) -> None:
        consumer = self.blueprint.component("consumer")
        pool = self.blueprint.component("pool")
        assert isinstance(pool, Pool)  # noqa: S101  (the kernel's own step made it)
        self._consumer = consumer  # type: ignore[assignment]  # a protocol, by contract of the step's name
        if not self.pool_spec.capabilities.runs_in_main_thread:
            self._consumer_thread(None)
        else:
            # The jobs get this thread: a debugger works, and the loop lives on while a task runs.
            thread = threading.Thread(target=self._consumer_thread, args=(pool,), name="worker-loop", daemon=True)
            thread.start()
            pool.serve()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _consumer_thread(self, release: Pool | None) -> None:
        assert self._consumer is not None  # noqa: S101  (set by the only caller)
        try:
            self._consumer.run()
        except BaseException as exc:  # noqa: BLE001  (raised again by the thread that called run)
            self._failure = exc
            self.status.enter(WorkerState.DEAD, str(exc).partition("\n")[0] or type(exc).__name__)
        finally:
            self.loop_calls.close()
            request = self.stop_request
            if request is not None and request.exit_code > self.exit_code:
                self.exit_code = request.exit_code
            if request is not None and request.at_once and self._failure is None:
                self.end_at_once()
            if release is not None and not release.stop(timeout=0.0):
                release.terminate()

    def end_at_once(self) -> None:
        """End the process with `exit_code` without waiting for threads: one of them cannot be joined."""
        log.warning("ending the process at once with exit code %d", self.exit_code)
        self.status.enter(WorkerState.DEAD, "" if self.stop_request is None else self.stop_request.reason)
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # closed, or nobody reads any more: nothing is left to do about it
                pass
        os._exit(self.exit_code)

    def _wake(self) -> None:
        if self._consumer is not None:
            self._consumer.wake()


def node_name(pattern: str, hostname: str) -> str:
    """Expand ``%h`` (host name), ``%n`` (its first label) and ``%d`` (the rest), as Celery does."""
    label, _, domain = hostname.partition(".")
    return pattern.replace("%h", hostname).replace("%n", label).replace("%d", domain)
