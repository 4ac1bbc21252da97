"""The kernel's own commands; what concerns messages and queues is declared by the plugin that consumes.

Each is called as ``function(worker, **arguments)`` and returns what JSON has. A `ControlError` or a `ValueError` says
why it was not carried out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from ..errors import ControlError
from ..hookspecs import ControlCommandSpec
from ..loop import StopMode, StopRequest
from ..pool import Pool

if TYPE_CHECKING:
    from ..worker import Worker


def ping(worker: Worker) -> Mapping[str, object]:
    """Say who and how the worker is."""
    snapshot = worker.status.snapshot()
    return {
        "pong": True,
        "node": worker.node_name,
        "pid": os.getpid(),
        "nonce": worker.nonce,
        "state": str(snapshot.state),
        "ready": snapshot.ready,
        "reason": snapshot.reason,
    }


def commands(worker: Worker) -> Mapping[str, object]:
    """List the commands."""
    return worker.commands.usages()


def stats(worker: Worker) -> Mapping[str, object]:
    """Return what each step says of itself, and how long the worker has been up."""
    return {
        "node": worker.node_name,
        "pid": os.getpid(),
        "uptime": round(worker.clock.monotonic() - worker.born, 3),
        "broker": worker.broker.url,
        "driver": worker.broker.driver,
        "steps": {name: dict(said) for name, said in worker.blueprint.info().items()},
    }


def registered(worker: Worker) -> Mapping[str, object]:
    """Return the tasks by name, with their options."""
    return {name: attrs.asdict(options) for name, options in worker.app.tasks().items()}


def grow(worker: Worker, n: object = 1) -> Mapping[str, object]:
    """Add slots."""
    pool = _pool_of_fixed_size(worker)
    pool.grow(_count(n))
    return {"limit": pool.statistics().limit}


def shrink(worker: Worker, n: object = 1) -> Mapping[str, object]:
    """Take slots away; a busy one goes when its job has ended."""
    pool = _pool_of_fixed_size(worker)
    pool.shrink(_count(n))
    return {"limit": pool.statistics().limit}


def restart(worker: Worker) -> Mapping[str, object]:
    """Replace every slot, each once its job has ended."""
    pool = _pool(worker)
    pool.restart()
    return {"limit": pool.statistics().limit}


def shutdown(worker: Worker, mode: str = "warm") -> Mapping[str, object]:
    """Stop the worker, ``warm`` or ``cold``."""
    modes = {str(one.name).lower(): one for one in StopMode}
    if mode not in modes:
        raise ControlError("bad arguments", f"mode must be {' or '.join(modes)}, not {mode!r}")
    worker.request_stop(StopRequest(mode=modes[mode], reason="control command shutdown"))
    return {"stopping": mode}


def _pool(worker: Worker) -> Pool:
    pool = worker.blueprint.component("pool")
    if not isinstance(pool, Pool):
        raise ControlError("refused", "the worker has no pool yet")
    return pool


def _pool_of_fixed_size(worker: Worker) -> Pool:
    if worker.blueprint.component("autoscaler") is not None:
        raise ControlError("refused", "the autoscaler decides how many slots there are: use the command 'autoscale'")
    return _pool(worker)


def _count(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ControlError("bad arguments", f"n must be a whole number >= 1, not {n!r}")
    return n


def _own(name: str, summary: str, *aliases: str, anywhere: bool = False) -> ControlCommandSpec:
    return ControlCommandSpec(
        name=name,
        factory=f"{__name__}:{name}",
        summary=summary,
        aliases=aliases,
        anywhere=anywhere,
        owner="worker-kernel",
    )


KERNEL_COMMANDS: tuple[ControlCommandSpec, ...] = (
    _own("ping", "Say who and how the worker is, whatever its loop does.", anywhere=True),
    _own("commands", "List the commands.", anywhere=True),
    _own("stats", "Return what each step says of itself."),
    _own("registered", "Return the tasks with their options.", anywhere=True),
    _own("grow", "Add n slots.", "pool_grow"),
    _own("shrink", "Take n slots away; a busy one goes when its job has ended.", "pool_shrink"),
    _own("restart", "Replace every slot, each once its job has ended.", "pool_restart"),
    _own("shutdown", "Stop the worker: mode is warm or cold.", anywhere=True),
)
"""See the module."""
