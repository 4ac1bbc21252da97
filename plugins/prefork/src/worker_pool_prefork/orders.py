"""What a child is told before anything else: who it is, and what it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from worker_kernel import Application, Booted, BootRecord


@attrs.frozen(kw_only=True)
class Orders:
    """One child's orders, as plain data."""

    index: int
    """The child's own number among its pool's, from 0; its replacement has the same."""
    slots: tuple[int, ...]
    """The indexes of its slots in the pool; their number is how many jobs it may run at a time."""
    title: str
    """How it is called in the process list: the worker's name."""
    parent: int
    """The process that it does not outlive."""
    boot: BootRecord | None = None
    """How it gets the application; None: it was forked with it."""
    inner: str = ""
    """``package.module:Class`` of the pool that it runs; empty: one job at a time in its main thread."""
    soft_time_limit: float | None = None
    """For the inner pool: see `PoolConfig`."""
    time_limit: float | None = None
    """For the inner pool: see `PoolConfig`."""
    limit_grace: float = 1.0
    """For the inner pool: see `PoolConfig`."""
    zombie_budget: int = 10
    """For the inner pool: see `PoolConfig`."""
    max_tasks_per_child: int | None = None
    """For the inner pool, where it replaces its own slots."""
    options: dict[str, Any] = attrs.field(factory=dict)
    """For the inner pool: its own settings, as far as JSON has them."""

    def to_bytes(self) -> bytes:
        """Return the orders as JSON."""
        fields = attrs.asdict(self, recurse=False)
        fields["boot"] = None if self.boot is None else self.boot.to_bytes().decode()
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Orders:
        """Return the orders that `to_bytes` wrote. Raises what `BootRecord.from_bytes` raises."""
        fields: dict[str, Any] = json.loads(data)
        boot = fields["boot"]
        return cls(
            **{
                **fields,
                "slots": tuple(fields["slots"]),
                "boot": None if boot is None else BootRecord.from_bytes(boot.encode()),
            }
        )


@attrs.frozen(kw_only=True)
class Equipment:
    """What a child works with once it is up."""

    app: Application
    """The application, configured."""
    slot_start: Callable[[int], None] | None = None
    """See `PoolConfig.slot_start`."""
    slot_end: Callable[[int], None] | None = None
    """See `PoolConfig.slot_end`."""
    child_init: Callable[[int], None] | None = None
    """See `PoolConfig.child_init`."""
    child_exit: Callable[[int], None] | None = None
    """See `PoolConfig.child_exit`."""

    @classmethod
    def of(cls, booted: Booted) -> Equipment:
        """Return the equipment of a process that has booted the application by itself."""
        return cls(
            app=booted.app,
            slot_start=booted.slot_start,
            slot_end=booted.slot_end,
            child_init=booted.child_init,
            child_exit=booted.child_exit,
        )
