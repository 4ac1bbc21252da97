"""The contracts of the consumer and of the loops that drive it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from .hub import Timers


class StopMode(enum.IntEnum):
    """How a worker stops; a later request can only make it colder."""

    WARM = 1
    """Finish what runs, hand back what waits; bounded by ``worker_grace``."""
    COLD = 2
    """Hand back what waits and, where it is acknowledged late, what runs."""


@attrs.frozen(kw_only=True)
class StopRequest:
    """Why and how the worker is to stop."""

    mode: StopMode
    """Warm or cold."""
    reason: str
    """For the log: ``SIGTERM``, ``zombie budget exceeded``, ..."""
    exit_code: int = 0
    """What the process shall exit with if nothing else decides."""
    at_once: bool = False
    """End the process with ``os._exit`` once all that can be settled is settled: something cannot be joined."""


class Drive(Protocol):
    """What a loop drives: one connection generation of the consumer.

    All methods are called on the loop's thread.
    """

    def pending(self) -> bool:
        """Whether the loop must go on: False once the consumer is to end or its connection is to be rebuilt."""
        ...

    def turn(self) -> None:
        """Do what is due once per turn: deliver reports of finished jobs, act on a stop request, settle."""
        ...

    def drain(self, timeout: float) -> None:
        """Block for at most ``timeout`` seconds in the transport and handle what it delivers (synloop only)."""
        ...

    def timeout(self) -> float:
        """Seconds that the loop may block now (>= 0)."""
        ...


@attrs.frozen(kw_only=True)
class LoopSpec:
    """What a plugin declares for a loop."""

    name: str
    """``asynloop``, ``synloop``, ..."""
    factory: str
    """``package.module:function``; called as ``function(drive, hub)``, returns when ``drive.pending()`` is false."""
    asynchronous: bool
    """Whether it needs a hub and an asynchronous transport."""


@attrs.frozen(kw_only=True)
class Demand:
    """What a consumer could use slots for."""

    waiting: int
    """Messages that it holds without a slot for them; those that wait for their time do not count."""
    runtime: float
    """Seconds that a run takes on average of late; 0: nothing has run yet."""
    queues: tuple[str, ...]
    """What it consumes from."""


class Consumer(Protocol):
    """The component of the worker blueprint's step ``consumer``."""

    def run(self) -> None:
        """Consume until a stop is requested and carried out. Called once, on the loop's thread.

        Raises:
            BrokerUnavailable: the broker cannot be reached and retrying is off or exhausted.
        """
        ...

    def wake(self) -> None:
        """Make `run` look at the worker's stop request soon. Callable from any thread."""
        ...

    def demand(self) -> Demand:
        """Return what could be run, were there more slots. Called on the loop's thread."""
        ...

    def statistics(self) -> Mapping[str, object]:
        """Return counts for ``info``: requests held, running, settled by fate. Called on the loop's thread."""
        ...


class BrokerConnection(Protocol):
    """The component of the consumer blueprint's step ``connection``: one connection to the broker, until it is lost.

    It is made in create and connected in start, so that a step which requires it may use it from its own start on, on
    the loop's thread. Once it is lost the whole blueprint is terminated, and built anew for the next one.
    """

    connection: Any
    """The ``kombu.Connection``."""
    channel: Any
    """Its channel, on which tasks are consumed; whoever consumes or publishes something else opens one of their own."""
    timers: Timers
    """Timers that end with the connection."""
    alive: bool
    """Whether it is in use: True until it is closed, or given up as lost."""
