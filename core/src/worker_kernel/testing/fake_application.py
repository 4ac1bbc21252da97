"""The application whose jobs are `FakeJob`s, for pools that run jobs in other processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..application import BrokerInfo, Envelope, TaskOptions
from ..job import Job
from ..outcome import Outcome
from ..settings import Settings
from .fake_job import Twin

if TYPE_CHECKING:
    from ..plugins.loading import Plugins

_NO_BROKER = "the fake application has no broker: its jobs are handed to a pool by a test"


class FakeApplication:
    """A `worker_kernel.Application` as far as a pool and its child processes need one."""

    def __init__(self) -> None:
        self.name = "fake"
        self.origin: str | None = f"{__name__}:app"

    def declared_settings(self) -> Mapping[str, object]:
        """See `Application.declared_settings`: none."""
        return {}

    def configure(self, settings: Settings, plugins: Plugins, *, join_blocks: bool = True) -> None:
        """See `Application.configure`: there is nothing to configure."""

    def tasks(self) -> Mapping[str, TaskOptions]:
        """See `Application.tasks`: the one that every `FakeJob` runs."""
        return {"fake.task": TaskOptions(name="fake.task")}

    def job_from_frame(self, frame: bytes) -> Job:
        """Return the twin of a `FakeJob`."""
        return Twin.of(frame)

    def preload(self) -> None:
        """See `Application.preload`: there is nothing."""

    def check_result_store(self) -> None:
        """See `Application.check_result_store`: there is none."""

    def close(self) -> None:
        """See `Application.close`: nothing is open."""

    def broker(self) -> BrokerInfo:
        """See `Application.broker`."""
        return BrokerInfo(url="memory://", driver="memory", asynchronous=False)

    def connection(self) -> Any:
        """Refuse."""
        raise NotImplementedError(_NO_BROKER)

    def queues(self) -> Sequence[Any]:
        """See `Application.queues`: none."""
        return ()

    def parse(self, message: Any) -> Envelope:
        """Refuse."""
        raise NotImplementedError(_NO_BROKER)

    def job(self, envelope: Envelope, options: TaskOptions) -> Job:
        """Refuse."""
        raise NotImplementedError(_NO_BROKER)

    def report(self, envelope: Envelope, outcome: Outcome) -> Job:
        """Refuse."""
        raise NotImplementedError(_NO_BROKER)


app = FakeApplication()
"""Found as ``worker_kernel.testing.fake_application:app``."""
