from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kombu
import pytest
import redis

from worker_broker_redis.address import Address, InvalidUrl
from worker_broker_redis.connections import pool

PLACES = [
    ("redis://", (("127.0.0.1", 6379),), 0),
    ("redis://host", (("host", 6379),), 0),
    ("redis://host:7000/3", (("host", 7000),), 3),
    ("wk-redis://host/3", (("host", 6379),), 3),
    ("redis://[::1]:7000/3", (("::1", 7000),), 3),
    ("redis://[::1]", (("::1", 6379),), 0),
    ("redis://host/?lease=5", (("host", 6379),), 0),
    ("sentinel://a,b:7/2?master_name=m", (("a", 26379), ("b", 7)), 2),
]


@pytest.mark.parametrize(("url", "hosts", "db"), PLACES)
def test_a_url_names_servers_and_a_database(url: str, hosts: object, db: int) -> None:
    address = Address.from_url(url)
    assert (address.hosts, address.db, address.path, address.tls) == (hosts, db, "", False)


def test_a_url_may_carry_a_login_with_characters_of_its_own() -> None:
    address = Address.from_url("redis://us%40er:p%2Fa:ss@host/1")
    assert (address.username, address.password, address.db) == ("us@er", "p/a:ss", 1)
    assert "p/a:ss" not in repr(address) + address.authority
    assert Address.from_url("redis://:only@host").username is None


@pytest.mark.parametrize("scheme", ["redis+socket", "wk-redis+socket", "socket"])
def test_a_unix_socket_is_a_path_and_a_database(scheme: str) -> None:
    address = Address.from_url(f"{scheme}:///run/my%20redis.sock?virtual_host=4")
    assert (address.path, address.db, address.hosts) == ("/run/my redis.sock", 4, ())
    assert pool(address).connection_class is redis.UnixDomainSocketConnection


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("?ssl_cert_reqs=required&ssl_ca_certs=/ca", {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca"}),
        ("?ssl_check_hostname=false", {"ssl_check_hostname": False}),
    ],
)
def test_tls_checks_the_certificate_unless_told_otherwise(query: str, expected: Mapping[str, object]) -> None:
    address = Address.from_url(f"rediss://host{query}")
    assert address.tls
    assert address.tls_options == expected
    connection = pool(address).make_connection()
    assert isinstance(connection, redis.SSLConnection)
    assert int(connection.cert_reqs) == (0 if "NONE" in query else 2)


def test_options_come_from_the_query_before_those_of_the_transport() -> None:
    address = Address.from_url("redis://h?lease=5", {"lease": 7, "socket_timeout": 3, "priority_steps": [0]})
    assert (address.lease, address.socket_timeout) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h?leese=5", "did you mean 'lease'"),
        ("redis://h?lease=never", "above 0"),
        ("redis://h?lease=0", "above 0"),
        ("redis://h?lease=inf", "above 0"),
        ("redis://h:port", "port"),
        ("redis://h:70000", "port"),
        ("redis://h/jobs", "database"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("sentinel://h", "master_name"),
        ("redis", "redis://host:6379/0"),
    ],
)
def test_what_cannot_be_understood_is_an_error_that_says_what_to_write(url: str, said: str) -> None:
    with pytest.raises(InvalidUrl, match=said):
        Address.from_url(url)


def test_the_sentinels_of_all_urls_are_asked() -> None:
    urls = ["wk-sentinel://a:1/0?master_name=m", "wk-sentinel://b:2/0"]
    address = kombu.Connection(urls).transport.address
    assert address.hosts == (("a", 1), ("b", 2))
    assert address.authority == "redis://m/0"


def test_a_sentinel_is_asked_for_the_master(monkeypatch: pytest.MonkeyPatch, server: Any, number: int) -> None:
    asked: list[object] = []

    def discover(self: Any, name: str) -> tuple[str, int]:
        asked.append(
            (name, [tuple(s.connection_pool.connection_kwargs[k] for k in ("host", "port")) for s in self.sentinels])
        )
        return "127.0.0.1", 6379

    monkeypatch.setattr(redis.sentinel.Sentinel, "discover_master", discover)
    connections = pool(Address.from_url(f"sentinel://s1,s2:7/{number}?master_name=m"))
    client = redis.Redis(connection_pool=connections)
    client.set("x", 1)
    assert server.get("x") == b"1"
    assert asked[0] == ("m", [("s1", 26379), ("s2", 7)])
    connections.disconnect()


def test_the_kernel_keeps_what_is_behind_the_plus_sign() -> None:
    from worker_broker_redis import transports
    from worker_kernel.tasks.broker import locate, store_location

    known = {scheme: spec for spec in transports() for scheme in spec.schemes}
    address = locate("redis+socket:///run/redis.sock?virtual_host=4", known)
    assert kombu.Connection(address.urls[0]).transport.address.path == "/run/redis.sock"
    assert address.store_url is not None
    scheme, url = store_location(address.store_url)
    assert scheme == "redis"
    assert Address.from_url(url).path == "/run/redis.sock"
