"""The steps ``tasks`` and ``loop``: take deliveries from the queues, and know what drives them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from kombu import Consumer as KombuConsumer

from worker_kernel import Drive, Hub, KernelBug, LoopSpec, Step, StepContext

from .connection import Generation
from .desk import Desk
from .request import Fate
from .settle import queue_of, settle_message

log = logging.getLogger("worker_loops.tasks")

LoopFunction = Callable[[Drive, Hub | None], None]


class TasksStep(Step):
    """Consumes from the application's queues; its component is the ``kombu.Consumer``."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._generation: Generation | None = None
        self._desk: Desk | None = None
        self._queues: dict[str, Any] = {}
        self._wake: Callable[[], None] | None = None

    def create(self, ctx: StepContext) -> TasksStep:
        """Learn whom to deliver to; the channel does not exist before the connection has started."""
        from .consumer import TaskConsumer  # the consumer builds this blueprint

        consumer = ctx.worker.blueprint.component("consumer")
        if not isinstance(consumer, TaskConsumer):
            raise KernelBug("the steps of worker-loops need the consumer of worker-loops")
        self._desk = consumer.desk
        self._wake = consumer.wake
        self._generation = ctx.get("connection", Generation)
        self._queues = consumer.queues
        return self

    def start(self) -> None:
        """Declare the queues and begin to consume."""
        assert self._generation is not None  # noqa: S101  (create comes first)
        assert self._desk is not None  # noqa: S101
        self._consumer = KombuConsumer(
            self._generation.channel,
            queues=list(self._queues.values()),
            on_message=self._deliver,
            no_ack=False,
        )
        self._desk.flow.reset()
        self._desk.flow.apply(self._consumer)
        self._consumer.consume()
        self._generation.read_ahead()

    def _deliver(self, message: Any) -> None:
        """Nothing that arrives in a queue may end the worker; only a lost connection may end the generation."""
        assert self._generation is not None  # noqa: S101  (create comes first)
        assert self._desk is not None  # noqa: S101
        try:
            self._desk.on_message(message, self._generation)
        except self._generation.losses:
            raise
        except Exception:
            log.exception("a message could not be dealt with and is quarantined")
            if not message.acknowledged:
                settle_message(message, Fate.QUARANTINE, queue_of(message), "internal error")
        if self._desk.flow.changed and self._wake is not None:
            self._wake()  # the loop may be about to block, with a window that is too small

    def apply_flow(self) -> None:
        """Tell the broker how many messages it may leave with us, if that has changed."""
        assert self._desk is not None  # noqa: S101  (create comes first)
        self._desk.flow.apply(self._consumer)

    def consume_from(self, queue: Any) -> None:
        """Declare a queue and consume from it as well."""
        assert self._consumer is not None  # noqa: S101  (start comes first)
        assert self._desk is not None  # noqa: S101
        self._consumer.add_queue(queue)
        if not self._desk.flow.paused:
            self._consumer.consume()
            assert self._generation is not None  # noqa: S101
            self._generation.read_ahead()

    def cancel_queue(self, name: str) -> None:
        """Consume no more from a queue; what it has delivered is dealt with."""
        if self._consumer is not None:
            self._consumer.cancel_by_queue(name)

    def pause(self) -> None:
        """Take no more deliveries. Idempotent."""
        if self._consumer is not None:
            self._consumer.cancel()

    def close(self) -> None:
        """Take no more deliveries."""


class LoopStep(Step):
    """Starts last; its component is the function that drives the generation."""

    def create(self, ctx: StepContext) -> LoopFunction:
        """Import the chosen loop."""
        spec: LoopSpec | None = ctx.worker.loop_spec
        if spec is None:
            raise KernelBug("no loop was chosen")
        return cast("LoopFunction", ctx.worker.plugins.load_object(spec.factory))
