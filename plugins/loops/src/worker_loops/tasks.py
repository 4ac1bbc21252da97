"""The steps ``tasks`` and ``loop``: take deliveries from the queues, and know what drives them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from kombu import Consumer as KombuConsumer

from worker_kernel import ControlError, Drive, Hub, KernelBug, LoopSpec, Step, StepContext, declare_queue

from .connection import Generation
from .desk import Desk
from .flow import Prefetch
from .request import Fate
from .settle import queue_of, settle_message

log = logging.getLogger("worker_loops.tasks")

QUORUM = "quorum"
CLASSIC = "classic"

LoopFunction = Callable[[Drive, Hub | None], None]


class TasksStep(Step):
    """Consumes from the application's queues; its component is the ``kombu.Consumer``."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._generation: Generation | None = None
        self._desk: Desk | None = None
        self._queues: dict[str, Any] = {}
        self._tags: dict[object, str] = {}
        self._wake: Callable[[], None] | None = None
        self._is_amqp = False

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
        self._is_amqp = self._generation.is_amqp
        queues = list(self._queues.values())
        self._desk.flow.reset(self._declare(queues))
        self._consumer = KombuConsumer(
            self._generation.channel,
            queues=queues,
            on_message=self._deliver,
            no_ack=False,
            auto_declare=False,
        )
        self._desk.flow.apply(self._consumer)
        self._consumer.consume()
        self._generation.read_ahead()

    def _declare(self, queues: list[Any]) -> Prefetch:
        """Declare queues, those that exist are used as they are, and say what the broker takes a window for."""
        assert self._generation is not None  # noqa: S101  (create comes first)
        connection = self._generation.connection
        types = [declare_queue(connection, queue) for queue in queues]
        if self._generation.ladder is None:
            return Prefetch.CHANNEL
        if QUORUM in types:  # as Celery does, whose clients delay messages for quorum queues by themselves
            for queue in queues:
                self._generation.ladder.bind(queue.name)
        if all(known == CLASSIC for known in types) and not connection.qos_semantics_matches_spec:
            return Prefetch.SHARED
        self._generation.ladder.eager = True
        return Prefetch.CONSUMER

    def _queue_of_tag(self, tag: object) -> str | None:
        """Return the queue that a consumer's tag stands for, a cancelled one's too: its deliveries may still come."""
        if tag not in self._tags:
            active = self._consumer._active_tags  # noqa: SLF001  (kombu knows it, and does not tell)
            self._tags.update({name: queue for queue, name in active.items()})
        return self._tags.get(tag)

    def _deliver(self, message: Any) -> None:
        """Nothing that arrives in a queue may end the worker; only a lost connection may end the generation."""
        assert self._generation is not None  # noqa: S101  (create comes first)
        assert self._desk is not None  # noqa: S101
        if self._is_amqp and getattr(message, "queue", None) is None:
            message.queue = self._queue_of_tag((message.delivery_info or {}).get("consumer_tag"))
        try:
            self._desk.on_message(message, self._generation)
        except self._generation.losses:
            raise
        except Exception:
            log.exception("a message could not be dealt with and is quarantined")
            if not message.acknowledged:
                settle_message(message, Fate.QUARANTINE, queue_of(message), "internal error", self._generation.courier)
        if self._desk.flow.changed and self._wake is not None:
            self._wake()  # the loop may be about to block, with a window that is too small

    def apply_flow(self) -> None:
        """Tell the broker how much it may leave with us, if that has changed; then hand back what is too much."""
        assert self._desk is not None  # noqa: S101  (create comes first)
        self._desk.flow.apply(self._consumer)
        if self._desk.stalled:
            self._desk.hand_back()

    def consume_from(self, queue: Any) -> None:
        """Declare a queue and consume from it as well."""
        assert self._consumer is not None  # noqa: S101  (start comes first)
        assert self._desk is not None  # noqa: S101
        assert self._generation is not None  # noqa: S101
        if self._desk.flow.shared and declare_queue(self._generation.connection, queue) != CLASSIC:
            raise ControlError("refused", f"{queue.name} is no classic queue, as those of now: name it in -Q")
        self._consumer.add_queue(queue)
        if not self._desk.flow.paused:
            self._consumer.consume()
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
