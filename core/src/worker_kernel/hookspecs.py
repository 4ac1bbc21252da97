"""The hooks of worker-kernel, in the order of the worker's life.

A plugin implements a hook as a function of its module::

    from worker_kernel import PoolSpec, implements, kernel_pools

    CONTRACT = 1

    @implements(kernel_pools)
    def pools() -> list[PoolSpec]:
        return [PoolSpec(name="mine", cls="my_pool.pool:MyPool", capabilities=CAPABILITIES)]

An implementation may leave out parameters that it does not need; hooks may gain parameters in later versions. Hook
order never carries a dependency: hooks collect, the graph orders. Each docstring says *When* (phase, process and
thread, how often), *Results* and *On error* (one of: abort, quarantine, log).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from .application import Application, Envelope
from .bootsteps import StepSpec
from .loop import LoopSpec
from .outcome import Outcome
from .pool import PoolSpec, Slot
from .settings import Setting

if TYPE_CHECKING:
    from .worker import Worker

CONTRACT = 1
"""The version of everything a plugin builds on. A plugin module states the one it was written for as ``CONTRACT``."""


@attrs.frozen(kw_only=True)
class TransportSpec:
    """A kombu transport that takes over one or more URL schemes."""

    schemes: tuple[str, ...]
    """The schemes as users write them: ``("sqlite",)``."""
    alias: str
    """The private kombu alias, ``wk-...``; kombu's own aliases are never replaced."""
    transport: str
    """``package.module:Transport``, imported by kombu when a connection is made."""
    asynchronous: bool
    """Whether it can be driven by the hub; ``?hub=0`` in the URL denies it."""
    result_backend: bool = False
    """Whether the same URL also names a result store (used when no ``result_backend`` is set)."""
    local_file: bool = False
    """Whether the URL's path is a file of this machine: a relative one is made absolute when it is first read, so that
    a task that changes the working directory does not change the broker."""


@attrs.frozen(kw_only=True)
class ResultStoreSpec:
    """A result store, chosen by the scheme of ``result_backend``."""

    schemes: tuple[str, ...]
    """The schemes as users write them."""
    factory: str
    """``package.module:Class``, called as ``Class(url, expires=seconds_or_None)``."""


@attrs.frozen(kw_only=True)
class AutoscalePolicySpec:
    """A policy for the autoscaler, chosen by ``worker_autoscaler``."""

    name: str
    """The choice of the setting."""
    factory: str
    """``package.module:Class``, an `AutoscalePolicy`, imported only when it is chosen; built with the settings."""
    summary: str = ""
    """One line for the log of the start and for the docs."""


@attrs.frozen(kw_only=True)
class ControlCommandSpec:
    """A command by which a running worker is controlled."""

    name: str
    """As senders call it."""
    factory: str
    """``package.module:function``; called as ``function(worker, **arguments)``, returns what JSON has, and raises
    `ControlError` where it is not carried out."""
    summary: str = ""
    """One line for the command ``commands``."""
    aliases: tuple[str, ...] = ()
    """Other names for it."""
    anywhere: bool = False
    """Whether it may run on any thread, and so answers also while the loop is busy. Otherwise: on the loop's."""
    owner: str = ""
    """The distribution that declares it; filled in by the kernel."""


@attrs.frozen(kw_only=True)
class Start:
    """What `kernel_may_start` answers: now, later, or never."""

    later: float | None = None
    """Seconds after which to ask again (> 0); None: no delay."""
    reject: str | None = None
    """Reason for which the task is not to run at all; it fails with `TaskRevoked`. None: it may run."""


# -- declare ------------------------------------------------------------------------------------------------------


def kernel_pools() -> Sequence[PoolSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare pools.

    When: once per process, in the main thread, when the plugin is loaded.
    Results: all lists are joined; two plugins declaring one name are in conflict.
    On error: quarantine.

    Example::

        @implements(kernel_pools)
        def pools() -> list[PoolSpec]:
            return [PoolSpec(name="solo", cls="worker_pool_solo.pool:SoloPool", capabilities=CAPABILITIES)]
    """


def kernel_steps() -> Sequence[StepSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare steps of the worker or the consumer blueprint.

    When: once per process, in the main thread, before the blueprints are resolved.
    Results: all lists are joined; the graph orders them by name within each ready wave.
    On error: quarantine.

    Example::

        @implements(kernel_steps)
        def steps() -> list[StepSpec]:
            return [
                StepSpec(
                    name="acme.probe",
                    blueprint=BlueprintName.WORKER,
                    factory="acme_probe.step:ProbeStep",
                    after=("pool",),
                )
            ]
    """


def kernel_loops() -> Sequence[LoopSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare loops.

    When: once per process, in the main thread, before the loop is chosen.
    Results: all lists are joined.
    On error: quarantine.

    Example::

        @implements(kernel_loops)
        def loops() -> list[LoopSpec]:
            return [LoopSpec(name="synloop", factory="worker_loops.synloop:synloop", asynchronous=False)]
    """


def kernel_settings() -> Sequence[Setting]:  # type: ignore[empty-body]  # a spec has no body
    """Declare settings, and with them options, environment variables, keys and rows of the reference.

    When: once per process, in the main thread, before the command line is parsed.
    Results: all lists are joined; two plugins declaring one name or one option are in conflict.
    On error: quarantine; the options of a broken plugin are answered with the reason it is broken.

    Example::

        @implements(kernel_settings)
        def settings() -> list[Setting]:
            return [Setting(name="acme_port", parse=kinds.whole(0), kind="whole number >= 0", default=0)]
    """


def kernel_transports() -> Sequence[TransportSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare kombu transports by URL scheme.

    When: once per process, in the main thread, when the plugin is loaded.
    Results: all lists are joined; two plugins declaring one scheme are in conflict.
    On error: quarantine.

    Example::

        @implements(kernel_transports)
        def transports() -> list[TransportSpec]:
            return [
                TransportSpec(
                    schemes=("sqlite",),
                    alias="wk-sqlite",
                    transport="worker_broker_sqlite.transport:Transport",
                    asynchronous=True,
                )
            ]
    """


def kernel_result_stores() -> Sequence[ResultStoreSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare result stores by URL scheme.

    When: once per process, in the main thread, when the plugin is loaded.
    Results: all lists are joined; two plugins declaring one scheme are in conflict.
    On error: quarantine.

    Example::

        @implements(kernel_result_stores)
        def result_stores() -> list[ResultStoreSpec]:
            return [ResultStoreSpec(schemes=("sqlite",), factory="worker_broker_sqlite.results:SqliteResultStore")]
    """


def kernel_autoscale_policies() -> Sequence[AutoscalePolicySpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare policies for the autoscaler.

    When: once per process, in the main thread, when the plugin is loaded.
    Results: all lists are joined; two plugins declaring one name are in conflict.
    On error: quarantine.

    Example::

        @implements(kernel_autoscale_policies)
        def autoscale_policies() -> list[AutoscalePolicySpec]:
            return [AutoscalePolicySpec(name="lazy", factory="acme_scale:LazyPolicy")]
    """


def kernel_control_commands() -> Sequence[ControlCommandSpec]:  # type: ignore[empty-body]  # a spec has no body
    """Declare commands by which a running worker is controlled.

    When: once per process, in the main thread, when the plugin is loaded.
    Results: all lists are joined; two plugins declaring one name are in conflict.
    On error: quarantine.

    Example::

        @implements(kernel_control_commands)
        def control_commands() -> list[ControlCommandSpec]:
            return [ControlCommandSpec(name="acme_dump", factory="acme_probe.control:dump")]
    """


def kernel_load_app(name: str) -> Application | None:
    """Load the application that ``-A name`` means, if it is one of yours.

    When: once per process that needs the application, in the main thread, before the kernel's own loader.
    Results: the first that is not None wins; None from all: the kernel imports ``module:attr`` itself.
    On error: abort (exit code 4).

    Example::

        @implements(kernel_load_app)
        def load_app(name: str) -> Application | None:
            return FlaskApplication(name[6:]) if name.startswith("flask:") else None
    """


def kernel_choose_loop(asynchronous: bool, patched: bool, windows: bool) -> str | None:
    """Choose the loop by name.

    When: once per worker, in the main thread, when the broker's transport is known.
    Results: the first that is not None wins; None from all: an asynchronous loop if the transport is asynchronous,
    nothing is patched and the platform is not Windows; else a synchronous one.
    On error: abort.

    Args:
        asynchronous: whether the transport can be driven by a hub.
        patched: whether the standard library is patched by a green library.
        windows: whether the platform is Windows.

    Example::

        @implements(kernel_choose_loop)
        def choose_loop(asynchronous: bool) -> str | None:
            return "acme_loop" if asynchronous else None
    """


# -- life ---------------------------------------------------------------------------------------------------------


def kernel_worker_init(worker: Worker) -> None:
    """The worker is built and its settings are final; nothing has been started or connected.

    When: once per worker, in the main thread.
    Results: none.
    On error: abort.

    Example::

        @implements(kernel_worker_init)
        def worker_init(worker: Worker) -> None:
            log.info("booting %s", worker.node_name)
    """


def kernel_worker_ready(worker: Worker) -> None:
    """The worker consumes for the first time.

    When: once per worker, on the loop's thread.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_worker_ready)
        def worker_ready(worker: Worker) -> None:
            Path("/run/ready").touch()
    """


def kernel_worker_stopping(worker: Worker) -> None:
    """A stop was requested; running tasks are still running.

    When: once per worker, on the loop's thread.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_worker_stopping)
        def worker_stopping(worker: Worker) -> None:
            Path("/run/ready").unlink(missing_ok=True)
    """


def kernel_worker_stopped(worker: Worker, exit_code: int) -> None:
    """All steps are stopped; the process is about to exit.

    When: once after each `kernel_worker_init` that did not raise, in the main thread, also where the worker could not
    boot or its consumer failed; not when the process has to end at once.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_worker_stopped)
        def worker_stopped(worker: Worker, exit_code: int) -> None:
            log.info("exit %d", exit_code)
    """


def kernel_child_init(index: int) -> None:
    """A child process of the worker is about to take jobs.

    When: once in each child, in its main thread, after the application is loaded. Never on in-process pools.
    Results: none.
    On error: abort (the child does not come up).

    Example::

        @implements(kernel_child_init)
        def child_init(index: int) -> None:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(index % 2)
    """


def kernel_child_exit(index: int) -> None:
    """A child process takes no more jobs and is about to exit.

    When: once in each child that exits by itself, in its main thread; not after a kill.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_child_exit)
        def child_exit(index: int) -> None:
            engine.dispose()
    """


def kernel_slot_start(index: int) -> None:
    """A slot is about to take its first job.

    When: once per slot, in the thread (greenlet) that runs its jobs, on every pool.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_slot_start)
        def slot_start(index: int) -> None:
            local.session = make_session()
    """


def kernel_slot_end(index: int) -> None:
    """A slot has run its last job. Paired with `kernel_slot_start`, except for a slot that is left to a zombie.

    When: once per slot, in the thread (greenlet) that ran its jobs, on every pool.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_slot_end)
        def slot_end(index: int) -> None:
            local.session.close()
    """


# -- observe and decide -------------------------------------------------------------------------------------------


def kernel_task_received(envelope: Envelope) -> None:
    """A message with a known task has arrived.

    When: once per delivery, on the loop's thread, before admission. Nothing is dispatched where nobody listens.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_task_received)
        def task_received(envelope: Envelope) -> None:
            counter[envelope.task] += 1
    """


def kernel_may_start(envelope: Envelope) -> Start | None:
    """Decide whether a task may start now.

    When: after the kernel's own admission and before a slot is taken, on the loop's thread; again after a delay.
    Results: every answer counts: one reject rejects, else the longest delay holds; None is no opinion.
    On error: log; counts as no opinion.

    Example::

        @implements(kernel_may_start)
        def may_start(envelope: Envelope) -> Start | None:
            return Start(later=5.0) if maintenance() else None
    """


def kernel_task_accepted(envelope: Envelope, slot: Slot) -> None:
    """A job has been given to a slot.

    When: once per run, on the loop's thread, soon after the job started. Nothing is dispatched where nobody listens.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_task_accepted)
        def task_accepted(envelope: Envelope, slot: Slot) -> None:
            started[envelope.id] = slot.index
    """


def kernel_task_finished(envelope: Envelope, outcome: Outcome) -> None:
    """A task has ended, its result is stored, and its message is about to be settled.

    When: once per fate, on the loop's thread. Nothing is dispatched where nobody listens.
    Results: none.
    On error: log.

    Example::

        @implements(kernel_task_finished)
        def task_finished(envelope: Envelope, outcome: Outcome) -> None:
            histogram.observe(outcome.runtime)
    """


HOOKS: tuple[Callable[..., object], ...] = (
    kernel_pools,
    kernel_steps,
    kernel_loops,
    kernel_settings,
    kernel_transports,
    kernel_result_stores,
    kernel_autoscale_policies,
    kernel_control_commands,
    kernel_load_app,
    kernel_choose_loop,
    kernel_worker_init,
    kernel_worker_ready,
    kernel_worker_stopping,
    kernel_worker_stopped,
    kernel_child_init,
    kernel_child_exit,
    kernel_slot_start,
    kernel_slot_end,
    kernel_task_received,
    kernel_may_start,
    kernel_task_accepted,
    kernel_task_finished,
)
"""All hooks, in the order of the worker's life."""

FIRST_RESULT = frozenset({"kernel_load_app", "kernel_choose_loop"})
"""The hooks of which the first result that is not None wins."""
