"""`examples/quickstart.py` is served on Redis and RabbitMQ, and driven by an unmodified Celery client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
CLIENT = """
import json, sys
import celery
broker, backend, queue = sys.argv[1:]
client = celery.Celery("client", broker=broker, backend=backend)
def call(name, *args):
    return client.send_task(f"examples.quickstart.{name}", args, queue=queue)
sums = [call("add", n, n) for n in range(20)]
parts = celery.chain(*(client.signature("examples.quickstart.add", args, queue=queue) for args in ((1, 2), (10,))))
failed = call("divide", 1, 0)
said = {
    "sums": [one.get(timeout=30) for one in sums],
    "chain": parts.apply_async().get(timeout=30),
    "nap": call("nap", 0.1).get(timeout=30),
    "unreliable": call("unreliable").get(timeout=30),
    "failed": type(failed.get(timeout=30, propagate=False)).__name__,
}
print(json.dumps(said))
"""


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """URLs of a broker and of its results, and a queue for this test alone."""
    queue = f"wk-quickstart-{uuid.uuid4().hex[:8]}"
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
        yield url, "rpc://", queue
        with kombu.Connection(url) as connection:
            connection.default_channel.queue_delete(queue)
        return
    if shutil.which("redis-server") is None:
        request.getfixturevalue("redis_url")  # skips, or fails where one was promised
    server = RedisServer(tmp_path)
    server.start()
    yield server.url, server.url, queue
    server.kill()


def test_a_celery_client_drives_the_quickstart(broker: tuple[str, str, str], tmp_path: Path) -> None:
    url, results, queue = broker
    log = tmp_path / "log"
    command = ["worker", "-A", "examples.quickstart", "-P", "threads", "-c", "4", "-b", url]
    with log.open("w") as stream:
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker_kernel", *command, "--result-backend", results, "-Q", queue, "-l", "INFO"],
            cwd=ROOT,
            stderr=stream,
        )
    try:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, url, results, queue],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr + log.read_text()
        assert json.loads(done.stdout) == {
            "sums": [2 * n for n in range(20)],
            "chain": 13,
            "nap": 0.1,
            "unreliable": "worked after 2 retries",
            "failed": "ZeroDivisionError",
        }
    finally:
        worker.terminate()
        assert worker.wait(30) == 0, log.read_text()
