"""Broker URLs: whose they are, how kombu is told, and how they are shown; and sending through them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import kombu
import pytest
from kombu.transport import TRANSPORT_ALIASES

from worker_kernel import BrokerUnavailable, PluginConflict, TransportSpec, UsageError
from worker_kernel.tasks.broker import locate, store_location
from worker_kernel.tasks.message import Invocation, WireMessage, compose
from worker_kernel.tasks.publishing import IDLE_LIMIT, Publisher, default_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.core.tasks.conftest import Lab

MINE = TransportSpec(
    schemes=("mine", "redis"),
    alias="wk-mine",
    transport="kombu.transport.memory:Transport",
    asynchronous=True,
    result_backend=True,
)
TRANSPORTS = dict.fromkeys(MINE.schemes, MINE)


@pytest.fixture(autouse=True)
def aliases() -> Iterator[dict[str, Any]]:
    """kombu's table, which must only gain private aliases; they are removed again."""
    before = dict(TRANSPORT_ALIASES)
    yield before
    after = dict(TRANSPORT_ALIASES)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("wk-") for name in set(after) - set(before))
    for name in set(after) - set(before):
        del TRANSPORT_ALIASES[name]


def test_a_plugins_scheme_is_rewritten_to_its_private_alias() -> None:
    found = locate("mine://me:secret@host/path?a=1", TRANSPORTS)
    assert found.urls == ("wk-mine://me:secret@host/path?a=1",)
    assert (found.info.url, found.info.driver, found.info.asynchronous) == ("mine://me:**@host/path?a=1", "mine", True)
    assert found.store_url == "mine://me:secret@host/path?a=1"
    assert kombu.Connection("wk-mine://host/path").transport_cls == "wk-mine"


def test_every_alternate_is_rewritten_and_kombus_own_alias_stays_kombus() -> None:
    before = TRANSPORT_ALIASES["redis"]
    found = locate("redis://a/0; redis://u:p@b/0 ;memory://", TRANSPORTS)
    assert found.urls == ("wk-mine://a/0", "wk-mine://u:p@b/0", "memory://")
    assert found.info.url == "redis://a/0;redis://u:**@b/0;memory://"
    assert found.info.asynchronous is False, "one of them is not"
    assert TRANSPORT_ALIASES["redis"] == before


@pytest.mark.parametrize(("given", "asynchronous"), [("0", False), ("no", False), ("1", True), ("TRUE", True)])
def test_the_option_hub_is_taken_out_and_heeded(given: str, asynchronous: bool) -> None:
    found = locate(f"mine:///x?a=1&hub={given}&b=2", TRANSPORTS)
    assert (found.urls, found.info.asynchronous) == (("wk-mine:///x?a=1&b=2",), asynchronous)
    assert found.store_url == "mine:///x?a=1&b=2"
    assert locate(f"mine:///x?hub={given}", TRANSPORTS).urls == ("wk-mine:///x",)


def test_a_scheme_without_a_plugin_is_kombus_own() -> None:
    assert locate("amqp://h//", {}).info.asynchronous is True
    assert locate("amqp://h//?hub=0", {}).info.asynchronous is False
    assert locate("memory://x", {}).urls == ("memory://x",)
    assert locate("memory://x", {}).store_url is None
    assert store_location("lab://x?hub=0&a=1") == ("lab", "lab://x?a=1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost", "has no scheme"),
        ("", "has no scheme"),
        ("mime://x", "did you mean mine://"),
        ("amqpp://x", "did you mean amqp://"),
        ("nothing-like-it://x", "do not know it"),
        ("wk-mine://x", "serves"),
        ("mine://u:secret@x?hub=maybe", "hub='maybe'"),
    ],
)
def test_a_url_that_nobody_serves_is_a_usage_error_without_passwords(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        locate(url or " ", TRANSPORTS)
    assert "secret" not in str(caught.value)


def test_a_kombu_transport_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wk_test_tripping.py").write_text("library = None\nclass Transport(library.Client): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    TRANSPORT_ALIASES["tripping"] = "wk_test_tripping:Transport"
    try:
        with pytest.raises(UsageError, match=r"(?s)library that is not installed.*pip install 'kombu\[tripping\]'"):
            locate("tripping://", {})
    finally:
        del TRANSPORT_ALIASES["tripping"]


LOCAL = TransportSpec(
    schemes=("local",),
    alias="wk-local",
    transport="kombu.transport.memory:Transport",
    asynchronous=True,
    result_backend=True,
    local_file=True,
)


@pytest.mark.parametrize(
    ("rest", "place"),
    [
        ("/jobs.db", "/work%20of%20mine/jobs.db"),
        ("/sub%20dir/jobs.db?a=1", "/work%20of%20mine/sub%20dir/jobs.db?a=1"),
        ("//var/jobs.db", None),
        ("/:memory:", None),
        ("/", None),
        ("host/jobs.db", None),
    ],
)
def test_a_local_file_is_the_one_of_the_directory_of_then(
    rest: str, place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "work of mine"
    here.mkdir()
    monkeypatch.chdir(here)
    found = locate(f"local://{rest}", {"local": LOCAL})
    expected = rest if place is None else f"/{tmp_path.as_posix()}{place}"
    assert found.urls == (f"wk-local://{expected}",)
    assert found.store_url == f"local://{expected}"
    assert found.info.url == f"local://{rest}", "shown as it was written"


def test_a_local_file_in_a_directory_that_is_gone_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="there is none"):
        locate("local:///jobs.db", {"local": LOCAL})


@pytest.mark.parametrize("alias", ["redis", "mine", "wk-taken"])
def test_an_alias_that_is_not_the_plugins_own_is_a_conflict(alias: str) -> None:
    TRANSPORT_ALIASES["wk-taken"] = "somebody.else:Transport"
    spec = TransportSpec(schemes=("x",), alias=alias, transport="x.y:Z", asynchronous=False)
    try:
        with pytest.raises(PluginConflict, match="private aliases begin with 'wk-'"):
            locate("x://", {"x": spec})
    finally:
        TRANSPORT_ALIASES.pop("mine", None)


def test_queues_are_the_default_one_or_those_that_are_named(make_lab: Callable[..., Lab]) -> None:
    assert [queue.name for queue in make_lab(task_default_queue="d").app.queues()] == ["d"]
    named = make_lab(worker_queues="a,b,a,c", worker_exclude_queues="b").app.queues()
    assert [(queue.name, queue.routing_key, queue.exchange.name, queue.durable) for queue in named] == [
        ("a", "a", "", True),
        ("c", "c", "", True),
    ]
    with pytest.raises(UsageError, match="no queue is left"):
        make_lab(worker_queues="a", worker_exclude_queues="a").app.queues()


# -- sending -----------------------------------------------------------------------------------------------------------


def wire(number: int = 0) -> WireMessage:
    return compose(Invocation.plan("t", [number], {}, now=0, default_queue="q"))


class Connections:
    """Counts the connections that a publisher makes."""

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self.made: list[Any] = []

    def __call__(self) -> Any:
        self.made.append(kombu.Connection(self.url))
        return self.made[-1]


def test_one_thread_uses_one_connection(lab: Lab) -> None:
    connect = Connections()
    publisher = Publisher(connect, lambda: "memory://")
    for number in range(20):
        publisher.publish(wire(number), lab.queue, policy=None)
    assert len(connect.made) == 1
    assert [lab.envelope().headers["argsrepr"] for _ in range(20)] == [f"({number},)" for number in range(20)]
    publisher.close()
    assert not connect.made[0].connected


def test_many_threads_lose_nothing_and_keep_a_bounded_number_of_connections(lab: Lab) -> None:
    connect = Connections()
    publisher = Publisher(connect, lambda: "memory://")

    def send() -> None:
        for number in range(25):
            publisher.publish(wire(number), lab.queue, policy=None)

    threads = [threading.Thread(target=send) for _ in range(2 * IDLE_LIMIT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    ids = {lab.envelope().id for _ in range(25 * len(threads))}
    assert len(ids) == 25 * len(threads)
    assert lab.empty()
    assert len(publisher._idle) <= IDLE_LIMIT
    publisher.close()


def test_a_connection_on_which_sending_failed_is_not_used_again() -> None:
    connect = Connections("amqp://127.0.0.1:1//")
    publisher = Publisher(connect, lambda: "amqp://shown")
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="amqp://shown"):
            publisher.publish(wire(), "q", policy=None)
    assert len(connect.made) == 2
    assert publisher._idle == []


def test_sending_is_tried_again_as_the_policy_says() -> None:
    publisher = Publisher(Connections("amqp://127.0.0.1:1//"), lambda: "amqp://shown")
    policy = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.0}
    with pytest.raises(BrokerUnavailable) as caught:
        publisher.publish(wire(), "q", policy=policy)
    assert isinstance(caught.value.__cause__, kombu.exceptions.OperationalError)


def test_an_interrupted_send_costs_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Connections()
    publisher = Publisher(connect, lambda: "memory://")

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kombu.Producer, "publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(wire(), "q", policy=None)
    assert publisher._idle == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_alone(tmp_path: Any) -> None:
    connect = Connections("filesystem://")
    publisher = Publisher(connect, lambda: "memory://")
    publisher._connect = lambda: kombu.Connection(
        "filesystem://", transport_options={"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path)}
    )
    publisher.publish(wire(1), "q", policy=None)
    (idle,) = publisher._idle
    publisher._lock.acquire()  # as another thread of the parent may at the moment of the fork
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            publisher.publish(wire(2), "q", policy=None)
            status = 0 if idle in publisher._left_to_parent and publisher._idle[0] is not idle else 2
        finally:
            os._exit(status)
    publisher._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert publisher._idle == [idle]
    publisher.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_queue_is_durable_and_on_the_default_exchange() -> None:
    queue = default_queue("q")
    assert (queue.name, queue.routing_key, queue.exchange.name, queue.durable) == ("q", "q", "", True)
