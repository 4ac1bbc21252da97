"""The worker's control commands in the form in which Celery's clients ask for them and read the answers.

Not answered in full: ``args`` and ``kwargs`` are what the sender wrote about them (``argsrepr``, ``kwargsrepr``),
since the worker's own process never decodes a body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from worker_kernel import ControlError, Pool, Worker

from .control import consumer_of

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # there is no such module there

Arguments = Mapping[str, Any]
USAGE = (
    "utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock",
    "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw",
)  # fmt: skip


def ping(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect ping``."""
    worker.commands.execute_here("ping", {})
    return {"ok": "pong"}


def revoke(worker: Worker, arguments: Arguments) -> object:
    """``AsyncResult.revoke()``, ``celery control revoke``; the signal is the pool's affair."""
    terminate = bool(arguments.get("terminate"))
    asked = {"ids": arguments.get("task_id"), "terminate": terminate}
    told = cast("dict[str, dict[str, str]]", worker.commands.execute_here("revoke", asked))["tasks"]
    if terminate:
        ended = ", ".join(one for one, became in told.items() if became != "remembered")
        return {"ok": f"terminate: {ended or 'tasks unknown'}"}
    return {"ok": f"tasks {{{', '.join(map(repr, told))}}} flagged as revoked"}


def terminate(worker: Worker, arguments: Arguments) -> object:
    """``celery control terminate``: revoke what runs, too."""
    return revoke(worker, {**arguments, "terminate": True})


def active(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect active``."""
    return _requests(worker, "active")


def reserved(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect reserved``."""
    return _requests(worker, "reserved")


def registered(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect registered``: names, each with the attributes that were asked for and are set."""
    wanted = arguments.get("taskinfoitems") or ("rate_limit",)
    tasks = cast("dict[str, dict[str, object]]", worker.commands.execute_here("registered", {}))
    lines = []
    for name, options in tasks.items():
        if name.startswith("celery.") and not arguments.get("builtins"):
            continue
        shown = [f"{item}={options[item]}" for item in wanted if options.get(str(item)) is not None]
        lines.append(f"{name} [{' '.join(shown)}]" if shown else name)
    return lines


def active_queues(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect active_queues``."""
    return [queue.as_dict(recurse=True) for queue in consumer_of(worker).queues.values()]


def stats(worker: Worker, arguments: Arguments) -> object:
    """``celery inspect stats``."""
    told = cast("dict[str, Any]", worker.commands.execute_here("stats", {}))
    pool = worker.blueprint.component("pool")
    if not isinstance(pool, Pool):
        raise ControlError("refused", "the worker has no pool yet")
    numbers = pool.statistics()
    consumer = consumer_of(worker)
    return {
        "total": dict(consumer.desk.started),
        "pid": told["pid"],
        "clock": "0",
        "uptime": int(told["uptime"]),
        "pool": {
            "implementation": numbers.implementation,
            "max-concurrency": numbers.limit,
            "processes": sorted({slot.pid for slot in numbers.slots}),
            "running-threads": numbers.running,
            "free-threads": numbers.free,
            "max-tasks-per-child": worker.settings.get_int("worker_max_tasks_per_child") or "N/A",
            "put-guarded-by-semaphore": True,
            "timeouts": [
                worker.settings.get_float("task_soft_time_limit") or 0,
                worker.settings.get_float("task_time_limit") or 0,
            ],
        },
        "broker": {"transport": worker.broker.driver, "hostname": worker.broker.url},
        "prefetch_count": consumer.desk.flow.window,
        "rusage": _usage(),
    }


def _requests(worker: Worker, command: str) -> list[dict[str, object]]:
    told = cast("list[dict[str, Any]]", worker.commands.execute_here(command, {}))
    return [
        {
            "id": one["id"],
            "name": one["task"],
            "type": one["task"],
            "args": one["args"],
            "kwargs": one["kwargs"],
            "hostname": worker.node_name,
            "time_start": one["since"],
            "acknowledged": one["acknowledged"],
            "delivery_info": one["delivery_info"],
            "worker_pid": one["pid"],
        }
        for one in told
    ]


def _usage() -> object:
    if resource is None:
        return "N/A"
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {name: getattr(used, f"ru_{name}") for name in USAGE}


REPLIES: Mapping[str, Callable[[Worker, Arguments], object]] = {
    "ping": ping,
    "revoke": revoke,
    "terminate": terminate,
    "stats": stats,
    "active": active,
    "dump_active": active,
    "reserved": reserved,
    "dump_reserved": reserved,
    "registered": registered,
    "registered_tasks": registered,
    "dump_tasks": registered,
    "active_queues": active_queues,
}
"""What is answered, by Celery's names."""
