"""An app on kombu's memory transport, with a result store in memory and a clock that moves only by sleeping."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from worker_kernel import (
    App,
    AsyncResult,
    ChordPart,
    Envelope,
    Fence,
    Job,
    JoinedChord,
    LeaseLost,
    Outcome,
    Plugins,
    ResultStoreSpec,
    StoreUnavailable,
    Task,
)
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.sources import read_settings
from worker_kernel.tasks.results import ResultStore

_numbers = itertools.count()


class StillClock:
    """Time moves by sleeping only."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class MemoryStore(ResultStore):
    """Keeps every state that was stored, in order; can be told to be down, or to know a fence as stale."""

    def __init__(self, url: str = "", expires: float | None = None) -> None:
        self.url, self.expires = url, expires
        self.history: list[dict[str, Any]] = []
        self.metas: dict[str, dict[str, Any]] = {}
        self.down = 0
        self.stale: set[str] = set()
        self.closed = False
        self.keeps_chords = True
        self.sizes: dict[str, int] = {}
        self.parts: dict[str, dict[tuple[int, str], ChordPart]] = {}
        self.shapes: dict[str, Any] = {}
        self.sent: list[str] = []

    def store(self, meta: Mapping[str, object], *, fence: Fence | None = None) -> None:
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down for a test")
        if fence is not None and fence.token in self.stale:
            raise LeaseLost("stale for a test")
        self.history.append(dict(meta))
        self.metas[str(meta["task_id"])] = dict(meta)

    def get(self, task_id: str) -> dict[str, Any] | None:
        return self.metas.get(task_id)

    def wait(self, task_id: str, timeout: float | None = None) -> dict[str, Any] | None:
        meta = self.metas.get(task_id)
        return meta if meta is not None and meta["status"] in {"SUCCESS", "FAILURE", "REVOKED"} else None

    def forget(self, task_id: str) -> None:
        self.metas.pop(task_id, None)

    def close(self) -> None:
        self.closed = True

    def chord_size(self, group_id: str, size: int) -> None:
        self.sizes[group_id] = size

    def chord_part(self, part: ChordPart) -> JoinedChord | None:
        parts = self.parts.setdefault(part.group_id, {})
        parts[part.index, part.task_id] = part
        if len(parts) != self.sizes.get(part.group_id):
            return None
        ordered = tuple(parts[key] for key in sorted(parts))
        return JoinedChord(group_id=part.group_id, claim="", parts=ordered, shape=self.shapes.get(part.group_id))

    def chord_sent(self, joined: JoinedChord) -> None:
        self.sent.append(joined.group_id)
        self.parts.pop(joined.group_id)
        self.sizes.pop(joined.group_id)

    def states(self, task_id: str) -> list[str]:
        return [meta["status"] for meta in self.history if meta["task_id"] == task_id]


class LabPlugins(Plugins):
    """No plugin but a result store for the scheme ``lab``."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.result_stores = {"lab": ResultStoreSpec(schemes=("lab",), factory="lab:Store")}

    def load_object(self, path: str, owner: str = "") -> object:
        assert path == "lab:Store"

        def make(url: str, expires: float | None = None) -> MemoryStore:
            self.store.url, self.store.expires = url, expires
            return self.store

        return make


class Lab:
    """An app and all that is around it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.queue = f"lab-{os.getpid()}-{next(_numbers)}"  # kombu's memory transport is one for the process
        self.store = MemoryStore()
        self.clock = StillClock()
        given = {"broker_url": "memory://", "result_backend": "lab://", "task_default_queue": self.queue, **settings}
        self.app = App("lab", **{name: value for name, value in given.items() if value is not None})
        self.app.clock = self.clock
        declared = self.app.declared_settings()
        read, warnings = read_settings(CORE_SETTINGS, app=declared, app_name="lab", environ={}, directory=folder)
        assert not warnings
        self.settings = read
        self.app.configure(read, LabPlugins(self.store))
        self._connection: Any = None

    def take(self, queue: str | None = None) -> Any:
        """The next message of a queue, acknowledged; None where it is empty."""
        if self._connection is None:
            self._connection = self.app.connection()
        channel = self._connection.default_channel
        message = channel.basic_get(queue or self.queue)
        if message is not None:
            message.ack()
        return message

    def envelope(self, queue: str | None = None) -> Envelope:
        message = self.take(queue)
        assert message is not None, "the queue is empty"
        return self.app.parse(message)

    def empty(self, queue: str | None = None) -> bool:
        return self.take(queue) is None

    def job(self, envelope: Envelope | None = None) -> Job:
        envelope = envelope or self.envelope()
        return self.app.job(envelope, self.app.tasks()[envelope.task])

    def run(self, result: AsyncResult | None = None) -> Outcome:
        """Run the next message."""
        envelope = self.envelope()
        assert result is None or envelope.id == result.id
        return self.job(envelope).run()

    def task(self, function: Callable[..., Any], **options: Any) -> Task[..., Any]:
        declared: Task[..., Any] = self.app.task(**options)(function)
        return declared

    def close(self) -> None:
        if self._connection is not None:
            self._connection.release()
        self.app.close()


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Makes labs with settings of one's own."""
    labs: list[Lab] = []

    def make(**settings: Any) -> Lab:
        labs.append(Lab(tmp_path, **settings))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """An app on a queue of its own."""
    return make_lab()
