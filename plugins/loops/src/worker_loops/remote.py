"""The step ``remote``: answers Celery's remote control, as far as it is asked for what this worker has.

The wire is kombu's pidbox: requests come by a fanout exchange, replies go to the queue of whoever asked. kombu's own
part of that, and ours, are imported with the first request: no start waits for what nobody may ever ask. Everything
happens on the loop's thread, which no task keeps busy on any pool. A message that makes no sense is logged in one line;
nothing that arrives here ends the worker or its connection.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from kombu import Consumer as KombuConsumer
from kombu import Exchange, Producer, Queue
from kombu.exceptions import InconsistencyError

from worker_kernel import ControlError, Step, StepContext, Worker

from .connection import Generation, broadcasts

log = logging.getLogger("worker_loops.remote")

NAMESPACE = "celery"
"""Celery's ``control_exchange``."""
EXCHANGE = f"{NAMESPACE}.pidbox"
"""What kombu makes of that."""
QUEUE_EXPIRES = 10.0
QUEUE_TTL = 300.0
"""Celery's ``control_queue_expires`` and ``control_queue_ttl``, in seconds."""
LISTEN_AGAIN = 30.0
"""Seconds after which a mailbox that could not be had is tried again."""
LONGEST = 1 << 20
"""Bytes that a request may have."""


class RemoteStep(Step):
    """Consumes from the worker's mailbox, on a channel of its own, for as long as the connection lasts."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._generation: Generation | None = None
        self._channel: Any = None
        self._clock: Any = None
        self._stopped = False

    def enabled(self, worker: Worker) -> bool:
        """With worker_enable_remote_control, on a broker that can broadcast (the embedded one cannot)."""
        return worker.settings.get_bool("worker_enable_remote_control") and broadcasts(worker)

    def create(self, ctx: StepContext) -> None:
        """Learn on which connection to listen."""
        self._worker = ctx.worker
        self._generation = ctx.get("connection", Generation)

    def start(self) -> None:
        """Begin to listen. A mailbox that cannot be had, because another worker has the name, is tried again later."""
        assert self._worker is not None  # noqa: S101  (create comes first)
        assert self._generation is not None  # noqa: S101
        connection = self._generation.connection
        try:
            self._channel = connection.channel()
            queue = mailbox(self._worker.node_name)
            consumer = KombuConsumer(self._channel, [queue], on_message=self._on_message, no_ack=True)
            consumer.consume()
        except connection.channel_errors as exc:
            log.warning(
                "remote control cannot be answered for now: another worker may be named %s (-n): %s",
                self._worker.node_name,
                exc,
            )
            self._listen_later()
            return
        self._generation.read_ahead()

    def _listen_later(self) -> None:
        assert self._generation is not None  # noqa: S101  (the callers looked)
        self._generation.timers.call_later(LISTEN_AGAIN, self._listen_again)

    def _listen_again(self) -> None:
        if not self._stopped and self._generation is not None and self._generation.alive:
            try:
                self.start()
            except self._generation.losses as exc:
                self._generation.failure = exc

    def stop(self) -> None:
        """Listen no more; the channel goes with the connection."""
        self._stopped = True

    def _on_message(self, message: Any) -> None:
        assert self._generation is not None  # noqa: S101  (create comes first)
        try:
            request = read(message)
            if request is not None:
                self._answer(request)
        except self._generation.losses as exc:
            # Its channel is gone, and with it at most the reply: the messages of tasks have another.
            log.warning("a remote control request could not be answered: %s", exc)
            self._listen_later()
        except ValueError as exc:
            log.warning("a remote control request makes no sense: %s", exc)
        except Exception:
            log.exception("a remote control request could not be dealt with")

    def _answer(self, request: Mapping[str, Any]) -> None:
        assert self._worker is not None  # noqa: S101  (create comes first)
        if not meant(request, self._worker.node_name):
            return
        answer = carry_out(self._worker, request)
        reply_to = request.get("reply_to")
        if isinstance(reply_to, Mapping):
            self._reply(answer, cast("Mapping[str, object]", reply_to), request.get("ticket"))

    def _reply(self, answer: object, reply_to: Mapping[str, object], ticket: object) -> None:
        assert self._worker is not None  # noqa: S101  (create comes first)
        if self._clock is None:
            from kombu.clocks import LamportClock

            self._clock = LamportClock()
        name, key = reply_to.get("exchange"), reply_to.get("routing_key")
        if name != f"reply.{EXCHANGE}" or not isinstance(key, str):
            raise ValueError(f"it wants its reply sent to {reply_to!r}")
        exchange = Exchange(name, type="direct", delivery_mode="transient", durable=False)
        with Producer(self._channel, auto_declare=False) as producer:
            try:
                producer.publish(
                    {self._worker.node_name: answer},
                    exchange=exchange,
                    routing_key=key,
                    declare=[exchange],
                    headers={"ticket": ticket, "clock": self._clock.forward()},
                    serializer="json",
                )
            except InconsistencyError:
                log.debug("nobody waits for the reply any more")

    def info(self) -> Mapping[str, object]:
        """Return the mailbox's name."""
        return {"mailbox": "" if self._worker is None else f"{self._worker.node_name}.{EXCHANGE}"}


def mailbox(node: str) -> Queue:
    """The queue of ``node``, as ``kombu.pidbox.Mailbox.get_queue`` has it."""
    return Queue(
        f"{node}.{EXCHANGE}",
        exchange=Exchange(EXCHANGE, type="fanout", durable=False, delivery_mode="transient"),
        durable=False,
        exclusive=True,
        auto_delete=True,
        expires=QUEUE_EXPIRES,
        message_ttl=QUEUE_TTL,
    )


def read(message: Any, now: Callable[[], float] = time.time) -> Mapping[str, Any] | None:
    """Return the request that a message holds; None: it has expired.

    Raises:
        ValueError: it makes no sense, or is too large, or is not JSON.
    """
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    expires = headers.get("expires")
    if isinstance(expires, (int, float)) and expires and now() > expires:
        return None
    body = message.body
    if message.content_type not in ("application/json", "json"):
        raise ValueError(f"its content type is {message.content_type!r}")
    if len(body) > LONGEST:
        raise ValueError(f"it has {len(body)} bytes")
    try:
        request = json.loads(bytes(body) if isinstance(body, memoryview) else body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(request, dict) and isinstance(request.get("method"), str):
        return request
    raise ValueError("it names no method")


def meant(request: Mapping[str, Any], node: str) -> bool:
    """Whether a request is for ``node``: by name, by pattern, or because it is for all.

    Raises:
        ValueError: by a pattern that is no glob (Celery's ``pcre`` is not offered: it can be made to run for ever).
    """
    destination, pattern = request.get("destination"), request.get("pattern")
    if destination:
        return isinstance(destination, (list, tuple)) and node in destination
    if pattern and request.get("matcher"):
        if request["matcher"] != "glob" or not isinstance(pattern, str):
            raise ValueError(f"it is addressed by {request['matcher']!r}, and only glob is offered")
        from kombu.matcher import match

        return bool(match(node, pattern, "glob"))
    return True


def carry_out(worker: Worker, request: Mapping[str, Any]) -> object:
    """Do what a request asks for and return the answer in Celery's form; what fails is answered with ``error``."""
    from .celery_replies import REPLIES

    method, arguments = request["method"], request.get("arguments") or {}
    reply = REPLIES.get(method)
    if reply is None:
        log.warning("remote control command %r is not offered", method)
        return {"error": f"{method!r} is not offered by this worker (pid {os.getpid()}); kernel control has more"}
    try:
        if not isinstance(arguments, Mapping):
            raise ControlError("bad arguments", "the arguments are no mapping")  # noqa: TRY301
        return reply(worker, cast("Mapping[str, Any]", arguments))
    except ControlError as exc:
        log.warning("remote control command %r: %s", method, exc)
        return {"error": str(exc)}
