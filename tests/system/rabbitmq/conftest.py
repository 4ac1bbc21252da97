"""Real workers on a real RabbitMQ, each test on queues of its own."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from tests.system.proxy import Proxy


class Rabbit:
    """What a test needs of the broker beside the worker under test."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with kombu.Connection(self.url) as connection, connection.channel() as channel:
            yield channel

    def declare(self, name: str, **arguments: object) -> None:
        with self.channel() as channel:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments or None)

    def take(self, queue: str) -> Any:
        """Take the first message of a queue, or None."""
        with self.channel() as channel:
            return channel.basic_get(queue, no_ack=True)

    def delete(self, *names: str) -> None:
        for name in names:
            with self.channel() as channel:
                channel.queue_delete(name)


@pytest.fixture
def rabbit(rabbitmq_url: str) -> Rabbit:
    return Rabbit(rabbitmq_url, f"wk-test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def proxy(rabbitmq_url: str) -> Iterator[Proxy]:
    proxy = Proxy(5672)
    yield proxy
    proxy.close()


@pytest.fixture
def rabbit_site(rabbit: Rabbit, new_site: type[Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make sites: ``rabbit_site(queue_type="classic", loop="asynloop", **settings)``."""
    sites: list[Any] = []

    def make(queue_type: str = "classic", loop: str = "asynloop", port: int = 5672, **settings: str) -> Any:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        query = "" if loop == "asynloop" else "?hub=0"
        site = new_site(
            folder,
            query,
            f"amqp://guest:guest@127.0.0.1:{port}//",
            **{
                "task_default_queue": f"{rabbit.prefix}-{len(sites)}",
                "task_default_queue_type": queue_type,
                "result_backend": f"sqlite:///{folder}/results.sqlite3",
                **settings,
            },
        )
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()
        rabbit.delete(site.queue, f"{site.queue}.quarantine")


LONG = pytest.mark.long


@pytest.fixture(
    params=[
        "classic-asynloop",
        "quorum-synloop",
        pytest.param("classic-synloop", marks=LONG),
        pytest.param("quorum-asynloop", marks=LONG),
    ]
)
def site(request: pytest.FixtureRequest, rabbit_site: Callable[..., Any]) -> Any:
    """Each type of queue on each loop; in the short form, each of them once."""
    queue_type, _, loop = request.param.partition("-")
    return rabbit_site(queue_type, loop)
