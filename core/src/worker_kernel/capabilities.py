"""What a pool can do, as data.

One record per pool is the single source for option negotiation at boot, for ``kernel pools``, for the documentation
and for the conformance kit, which tests that what is declared holds and that what is not declared refuses.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs


class Support(enum.StrEnum):
    """How an option is dealt with. There is no fourth answer: an option is never ignored."""

    NATIVE = "native"
    """The pool does it itself."""
    EMULATED = "emulated"
    """The worker reaches the same effect by other means; the documentation says which."""
    REFUSED = "refused"
    """Asking for it is an error at boot."""


class Fitness(enum.StrEnum):
    """How well a pool suits a kind of work; the words of the feature comparison."""

    EXCELLENT = "Excellent"
    GOOD = "Good"
    POOR = "Poor"


class Stuck(enum.StrEnum):
    """The ways in which a task can fail to end: the rows of the limits table."""

    YIELDS = "yields"
    """Waits in short steps (``time.sleep(0.01)`` in a loop)."""
    BUSY = "busy loop"
    """Pure Python that never waits."""
    SLEEPS = "interruptible sleep"
    """One long ``time.sleep``: a signal interrupts it, another thread's exception does not."""
    C_WITHOUT_GIL = "C call without the GIL"
    """One long call into C that released the GIL and cannot be interrupted."""
    C_WITH_GIL = "C call that holds the GIL"
    """One long call into C during which no Python runs in the process at all."""


class Effect(enum.StrEnum):
    """What a time limit comes to for a stuck task."""

    RAISED = "raised in the task"
    """The exception is raised in the task, within the deadline."""
    ZOMBIE = "failed as a zombie"
    """The task is failed and its message settled, its slot is replaced; what runs is left behind."""
    PROCESS_ENDS = "the process ends"
    """The process ends; the task was failed first where any Python could still run."""
    REPLACED = "its process is replaced"
    """The task is failed and its message settled; what ran it is killed and replaced, the worker lives on."""
    UNDELIVERABLE = "undeliverable"
    """A soft limit only: it is logged as undeliverable; the hard limit is what ends the task."""


LimitTable = Mapping[Stuck, Effect]
"""What happens to each kind of stuck task when a limit passes; a missing row means that the limit is refused."""


def _frozen_table(table: LimitTable) -> LimitTable:
    return MappingProxyType(dict(table))


@attrs.frozen(kw_only=True)
class Capabilities:
    """What one pool can do. Every default is the humblest answer: what is not declared is refused."""

    # The rows of the feature comparison.
    true_parallelism: bool = False
    """Whether pure Python code of two slots runs at the same time."""
    cpu_bound: Fitness = Fitness.POOR
    """How well CPU-bound tasks do."""
    io_bound: Fitness = Fitness.POOR
    """How well I/O-bound tasks do."""
    memory_efficiency: str = "High"
    """``High`` (slots share a process) or ``Moderate``."""
    concurrency_scale: str = "1"
    """How many slots make sense: ``1``, ``10s``, ``10s-100s``, ``1000s``."""
    process_isolation: bool = False
    """Whether a task that corrupts or ends its process leaves the other slots alone."""
    windows: bool = False
    """Whether the pool is meant to work on Windows."""
    debugging: str = "Harder"
    """``Easy``, ``Moderate`` or ``Harder``."""

    # Options, as negotiated at boot.
    concurrency: Support = Support.REFUSED
    """More than one slot (``-c``)."""
    soft_time_limit: Support = Support.REFUSED
    """Raise `SoftTimeLimitExceeded` in the task."""
    time_limit: Support = Support.REFUSED
    """End the task."""
    cancel: Support = Support.REFUSED
    """End a running job by its id. A job that waits in the pool can be cancelled on every pool."""
    resize: Support = Support.REFUSED
    """`Pool.grow` and `Pool.shrink`, and so autoscaling."""
    restart: Support = Support.REFUSED
    """Replace all slots while the worker runs (``worker_pool_restarts``)."""
    max_tasks_per_child: Support = Support.REFUSED
    """Replace a slot after this many runs."""
    max_memory_per_child: Support = Support.REFUSED
    """Replace what runs the slot when it has grown past this size."""
    memory_limit: Support = Support.REFUSED
    """End a task while it runs when its process has grown past this size."""
    async_tasks: Support = Support.REFUSED
    """Run ``async def`` tasks."""
    putlocks: Support = Support.REFUSED
    """``worker_pool_putlocks``: in threaded mode, submit no more than there are slots. EMULATED by flow control."""
    strategy: Support = Support.REFUSED
    """Scheduling strategies (``-O``)."""
    processes: Support = Support.REFUSED
    """Spread the slots over several supervised processes (``--processes``)."""
    start_method: Support = Support.REFUSED
    """Choose how child processes come to be."""
    beat: Support = Support.REFUSED
    """An embedded scheduler (``-B``) beside this pool."""

    # How limits show, for the documentation and the conformance kit.
    soft_effects: LimitTable = attrs.field(factory=dict, converter=_frozen_table)
    """What the soft limit comes to, by kind of stuck task."""
    hard_effects: LimitTable = attrs.field(factory=dict, converter=_frozen_table)
    """What the hard limit comes to, by kind of stuck task."""

    # Facts that the worker arranges itself by.
    join_blocks: bool = True
    """Whether ``AsyncResult.get()`` inside a task can deadlock the pool, and therefore raises there."""
    runs_in_main_thread: bool = False
    """Whether jobs have the process's main thread: the loop then gets a second one, and `Pool.serve` is called."""
    runs_elsewhere: bool = False
    """Whether jobs run in other processes than the worker's: they cross as frames."""
    is_green: bool = False
    """Whether the pool needs the standard library patched before anything else is imported."""

    def supports(self, option: str) -> Support:
        """Return the answer for ``option``, the name of one of the `Support` fields.

        Raises:
            KeyError: there is no such option.
        """
        if option not in OPTIONS:
            raise KeyError(option)
        return Support(getattr(self, option))


OPTIONS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Capabilities) if field.default is Support.REFUSED)
"""The names of all options that are negotiated, in the order of their declaration."""


def _limits(raised: Iterable[Stuck], otherwise: Effect) -> LimitTable:
    return dict.fromkeys(Stuck, otherwise) | dict.fromkeys(raised, Effect.RAISED)


_PYTHON = (Stuck.YIELDS, Stuck.BUSY)
"""Where an exception reaches a thread: when it next runs Python."""
_SIGNALS = (*_PYTHON, Stuck.SLEEPS)
"""Where a signal reaches the main thread: also while it sleeps."""

LOCAL_POOL = Capabilities(
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    putlocks=Support.EMULATED,
    soft_effects=_limits(_SIGNALS, Effect.UNDELIVERABLE),
    hard_effects=_limits(_SIGNALS, Effect.PROCESS_ENDS),
)
"""What a `LocalPool` can do with one slot, in the process's main thread, where a signal interrupts the task.

A pool's record is one of these three and, by `attrs.evolve`, what is its own.
"""

SLOT_POOL = attrs.evolve(
    LOCAL_POOL,
    concurrency=Support.NATIVE,
    resize=Support.NATIVE,
    restart=Support.NATIVE,
    max_tasks_per_child=Support.NATIVE,
    soft_effects=_limits(_PYTHON, Effect.UNDELIVERABLE),
    hard_effects={**_limits(_PYTHON, Effect.ZOMBIE), Stuck.C_WITH_GIL: Effect.PROCESS_ENDS},
)
"""What a `SlotPool` can do whose slots are threads."""

GREEN_POOL = attrs.evolve(
    SLOT_POOL,
    io_bound=Fitness.EXCELLENT,
    concurrency_scale="1000s",
    # What yields is reached at the next turn of the loop, what loops in Python by a signal. A task in C holds the loop
    # and all other tasks with it, so that nothing but the end of the process ends it.
    soft_effects=LOCAL_POOL.soft_effects,
    hard_effects=LOCAL_POOL.hard_effects,
    join_blocks=False,
    is_green=True,
)
"""What a `GreenPool` can do, whatever the library."""
