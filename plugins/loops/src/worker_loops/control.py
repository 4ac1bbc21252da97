"""The control commands that concern messages, tasks and queues. All run on the loop's thread.

What they change holds on this worker until it ends: for tasks from their next delivery on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from worker_kernel import ControlError, Support, TaskOptions, Worker

from . import revoking
from .consumer import TaskConsumer
from .desk import Desk
from .rates import interval
from .request import Request, State

RUNNING = frozenset({State.RUNNING, State.REPORTING})


def active(worker: Worker) -> list[Mapping[str, object]]:
    """List what runs, the fates that are being stored included."""
    return [_described(one) for one in _desk(worker).requests() if one.state in RUNNING]


def reserved(worker: Worker) -> list[Mapping[str, object]]:
    """List what is here and does not run."""
    return [_described(one) for one in _desk(worker).requests() if one.state not in RUNNING]


def scheduled(worker: Worker) -> list[Mapping[str, object]]:
    """List what is held here until its time. What the broker keeps until then is not here, and not listed."""
    return [_described(one) for one in _desk(worker).requests() if one.state is State.HELD]


def revoked(worker: Worker) -> list[str]:
    """List the ids that are remembered as revoked, the oldest first."""
    return _desk(worker).revoked.ids()


def revoke(
    worker: Worker, ids: object, terminate: object = False, signal: object = None
) -> Mapping[str, Mapping[str, str]]:
    """Let tasks not run; say for each id what has become of it.

    ``dropped``: it will not run. ``runs on``: it runs, and was not to be ended. ``is being ended``: see its result.
    ``has ended``: too late. ``remembered``: it is not here, and will be refused if it comes. ``signal`` is taken, since
    Celery's clients send it, and has no effect: how a task is ended is the pool's affair.
    """
    wanted = [ids] if isinstance(ids, str) else ids
    if not isinstance(wanted, Sequence) or not wanted or not all(isinstance(one, str) for one in wanted):
        raise ControlError("bad arguments", f"ids must be a task id or a list of them, not {ids!r}")
    if not isinstance(terminate, bool):
        raise ControlError("bad arguments", f"terminate must be true or false, not {terminate!r}")
    known = revoking.revoke(_desk(worker), cast("Sequence[str]", wanted), terminate=terminate)
    return {"tasks": {one: known.get(one, "remembered") for one in wanted}}


def active_queues(worker: Worker) -> list[Mapping[str, object]]:
    """List the queues that are consumed from."""
    return [_queue(queue) for queue in consumer_of(worker).queues.values()]


def add_queue(worker: Worker, queue: object) -> Mapping[str, object]:
    """Consume from one more queue, which is declared where it does not exist."""
    consumer_of(worker).add_queue(_name(queue))
    return {"queues": list(consumer_of(worker).queues)}


def cancel_queue(worker: Worker, queue: object) -> Mapping[str, object]:
    """Consume no more from a queue; what it has delivered is still run."""
    name = _name(queue)
    if not consumer_of(worker).cancel_queue(name):
        raise ControlError("refused", f"the worker does not consume from {name!r}")
    return {"queues": list(consumer_of(worker).queues)}


def rate_limit(worker: Worker, task: object, rate: object) -> Mapping[str, object]:
    """Change how often a task may start: ``10``, ``10/s``, ``10/m``, ``10/h``; 0: as often as it likes."""
    options = _options(worker, task)
    text = "0" if rate is None else str(rate)
    try:
        interval(text)
    except ValueError as exc:
        raise ControlError("bad arguments", str(exc)) from None
    _desk(worker).override(attrs.evolve(options, rate_limit=text))
    return {"task": options.name, "rate_limit": text}


def time_limit(worker: Worker, task: object, soft: object = None, hard: object = None) -> Mapping[str, object]:
    """Change the limits of a task; what its messages ask for still wins."""
    options = _options(worker, task)
    limits: dict[str, Any] = {"soft_time_limit": _seconds("soft", soft), "time_limit": _seconds("hard", hard)}
    for option, value in limits.items():
        if value is not None and worker.pool_spec.capabilities.supports(option) is Support.REFUSED:
            raise ControlError("refused", f"pool {worker.pool_spec.name!r} refuses {option}")
    _desk(worker).override(attrs.evolve(options, **limits))
    return {"task": options.name, **limits}


def _described(request: Request) -> Mapping[str, object]:
    envelope = request.envelope
    return {
        "id": envelope.id,
        "task": envelope.task,
        "state": str(request.state),
        "queue": envelope.queue,
        "args": _text(envelope.headers.get("argsrepr")),
        "kwargs": _text(envelope.headers.get("kwargsrepr")),
        "retries": envelope.retries,
        "eta": None if envelope.eta is None else envelope.eta.isoformat(),
        "acknowledged": request.acknowledged,
        "pid": request.pid,
        "since": request.since,
        "delivery_info": {
            "exchange": envelope.delivery_info.get("exchange"),
            "routing_key": envelope.delivery_info.get("routing_key"),
            "priority": envelope.properties.get("priority"),
            "redelivered": envelope.redelivered,
        },
    }


def _text(value: object) -> str | None:
    """Return what a header says of arguments, cut short; the body is not read here."""
    return value[:1024] if isinstance(value, str) else None


def _queue(queue: object) -> Mapping[str, object]:
    return {"name": getattr(queue, "name", None), "routing_key": getattr(queue, "routing_key", None)}


def consumer_of(worker: Worker) -> TaskConsumer:
    """Return the worker's consumer.

    Raises:
        ControlError: it is another plugin's, or not there yet.
    """
    consumer = worker.blueprint.component("consumer")
    if not isinstance(consumer, TaskConsumer):
        raise ControlError("refused", "the worker's consumer is not the one of worker-loops")
    return consumer


def _desk(worker: Worker) -> Desk:
    return consumer_of(worker).desk


def _options(worker: Worker, task: object) -> TaskOptions:
    options = _desk(worker).options_of(task) if isinstance(task, str) else None
    if options is None:
        raise ControlError("bad arguments", f"there is no task {task!r}")
    return options


def _name(queue: object) -> str:
    if not isinstance(queue, str) or not queue or len(queue) > 255:
        raise ControlError("bad arguments", f"queue must be the name of a queue, not {queue!r}")
    return queue


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ControlError("bad arguments", f"{name} must be seconds > 0 or null, not {value!r}")
    return float(value)
