"""What needs a server of the test's own: unix sockets, logins, TLS, Sentinels, and servers that go away."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis

from worker_broker_redis.results import RedisResultStore

Call = Callable[..., Any]


def test_a_unix_socket_carries_messages_and_results(own: Any) -> None:
    own.start()
    with kombu.Connection(f"wk-redis+socket://{own.socket}?virtual_host=3") as connection:
        connection.Producer().publish("x", routing_key="q")
        message = connection.default_channel.basic_get("q")
        assert message.payload == "x"
        store = RedisResultStore(f"redis+socket://{own.socket}?virtual_host=3")
        store.store({"task_id": "t", "status": "SUCCESS", "result": 1}, fence=message.fence)
        assert message.fence.authority == store.address.authority
        message.ack()
        store.close()
    with redis.Redis(port=own.port, db=3) as client:
        assert client.keys() == [b"celery-task-meta-t"]


def test_a_login_without_the_right_to_track_keys_is_served_all_the_same(
    own: Any, receive: Call, send: Call, caplog: pytest.LogCaptureFixture
) -> None:
    own.start()
    with redis.Redis(port=own.port) as client:
        client.acl_setuser("app", enabled=True, passwords=["+p@ss"], keys=["*"], channels=["*"], commands=["+@all"])
        client.execute_command("ACL", "SETUSER", "app", "-client|tracking")
    with kombu.Connection(f"wk-redis://app:p%40ss@127.0.0.1:{own.port}/0") as connection:
        receiver = receive(connection)
        assert receiver.drain() == []
        assert "tells no changes" in caplog.text
        send(connection, 1)
        assert receiver.drain(10.0) == [1]
    wrong = kombu.Connection(f"wk-redis://app:wrong@127.0.0.1:{own.port}/0")
    with pytest.raises(redis.exceptions.AuthenticationError):
        wrong.connect()
    wrong.release()


@pytest.mark.parametrize("loop", ["", "&hub=0"], ids=["asynloop", "synloop"])
def test_a_worker_outlives_its_server_and_what_runs_meanwhile_runs_once(
    own: Any, site: Any, until: Call, loop: str
) -> None:
    own.start()
    site.url = own.url
    site.write("""
        @app.task(name="long")
        def long(): mark("long"); time.sleep(6); return "long"
        @app.task(name="short")
        def short(): mark("short"); return "short"
    """)
    worker = site.worker("-P", "threads", "-c", "4", query=f"?lease=2{loop}").wait_ready()
    with kombu.Connection(own.url) as client, redis.Redis(port=own.port) as server:
        store = RedisResultStore(own.url)
        publish(client, "long", "a")
        until(lambda: site.lines() == [["long"]], "the long task to run")
        own.kill()
        until(lambda: "connection to the broker lost" in worker.log, "the worker to notice")
        own.start()
        begin = time.monotonic()
        publish(client, "short", "b")
        found = store.wait("b", 20)
        assert found is not None
        assert found["result"] == "short"
        assert time.monotonic() - begin < 10
        found = store.wait("a", 20)
        assert found is not None
        assert found["result"] == "long"
        until(lambda: not server.exists("celery", "unacked", "wk:1:holders"), "all to be settled")
        store.close()
    assert site.lines() == [["long"], ["short"]]
    assert worker.stop() == 0, worker.log


def server_of(client: Any) -> str:
    try:
        return str(client.info("server").get("redis_mode"))
    except redis.ConnectionError:
        return ""


def publish(connection: Any, task: str, task_id: str) -> None:
    connection.Producer().publish(
        [[], {}, {}], routing_key="celery", serializer="json", headers={"task": task, "id": task_id}, retry=True
    )


def test_a_black_hole_is_a_connection_error_within_the_timeout(own: Any, receive: Call) -> None:
    own.start()
    assert own.process is not None
    with kombu.Connection(f"wk-{own.url}?socket_timeout=0.5&lease=1") as connection:
        receiver = receive(connection)
        receiver.drain()
        own.process.send_signal(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            with pytest.raises(redis.exceptions.TimeoutError):
                connection.drain_events(timeout=30)
            assert time.monotonic() - begin < 15
            connection.collect()
        finally:
            own.process.send_signal(signal.SIGCONT)


def test_a_sentinel_leads_to_the_master(own: Any, tmp_path: Path, until: Call, receive: Call, send: Call) -> None:
    own.start()
    folder = tmp_path / "sentinel"
    folder.mkdir()
    port = own.other_port
    config = folder / "sentinel.conf"
    config.write_text(f"port {port}\ndir {folder}\nsentinel monitor mymaster 127.0.0.1 {own.port} 1\n")
    sentinel = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            until(lambda: "sentinel" in server_of(client), "the sentinel to answer")
        url = f"sentinel://127.0.0.1:{port}/2?master_name=mymaster"
        with kombu.Connection(f"wk-{url}") as connection, connection.clone() as sending:
            receiver = receive(connection)
            receiver.drain()
            threading.Timer(0.2, send, (sending, 1)).start()
            assert receiver.drain(4.0) == [1]
            store = RedisResultStore(url)
            assert receiver.messages[0].fence.authority == store.address.authority
            store.store({"task_id": "t", "status": "SUCCESS"}, fence=receiver.messages[0].fence)
            store.close()
        with redis.Redis(port=own.port, db=2) as client:
            assert client.exists("celery-task-meta-t", "q") == 2  # what was held has gone back
        with redis.Redis(port=port) as client:
            until(lambda: len(client.client_list()) == 1, "the connections to the sentinel to be closed")
    finally:
        sentinel.kill()
        sentinel.wait()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_tls_carries_messages_and_trusts_only_whom_it_should(
    own: Any, tmp_path: Path, receive: Call, send: Call
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    port = own.other_port
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    own.start("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    with kombu.Connection(f"wk-rediss://localhost:{port}/0?ssl_ca_certs={certificate}") as connection:
        receiver = receive(connection)
        receiver.drain()
        send(connection, 1)
        assert receiver.drain(4.0) == [1]
    untrusted = kombu.Connection(f"wk-rediss://localhost:{port}/0")
    with pytest.raises(redis.ConnectionError, match="certificate"):
        untrusted.connect()
