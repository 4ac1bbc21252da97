from __future__ import annotations

import subprocess
import sys

import pluggy

import worker_broker_redis
import worker_kernel
from worker_broker_redis.results import READY_STATES, RedisResultStore
from worker_broker_redis.transport import Transport


def test_the_plugin_states_its_contract() -> None:
    assert worker_broker_redis.CONTRACT == worker_kernel.CONTRACT


def test_every_public_name_exists() -> None:
    assert all(hasattr(worker_broker_redis, name) for name in worker_broker_redis.__all__)


def test_loading_the_plugin_imports_neither_kombu_nor_redis() -> None:
    code = (
        "import sys, pluggy, worker_broker_redis as plugin\n"
        "pluggy.PluginManager('worker_kernel').register(plugin)\n"
        "plugin.transports(), plugin.result_stores()\n"
        "sys.stderr.write(' '.join({'kombu', 'redis', 'amqp', 'billiard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_declared_names_lead_to_the_classes() -> None:
    manager = pluggy.PluginManager("worker_kernel")
    transports = worker_broker_redis.transports()
    (store,) = worker_broker_redis.result_stores()
    manager.register(worker_broker_redis)
    assert {spec.transport for spec in transports} == {f"{Transport.__module__}:{Transport.__name__}"}
    assert {spec.schemes: spec.alias for spec in transports} == {
        ("redis",): "wk-redis",
        ("rediss",): "wk-rediss",
        ("sentinel",): "wk-sentinel",
    }
    assert all(spec.result_backend and spec.asynchronous for spec in transports)
    assert store.factory == f"{RedisResultStore.__module__}:{RedisResultStore.__name__}"
    assert store.schemes == ("redis", "rediss", "sentinel")
    assert {"SUCCESS", "FAILURE", "REVOKED"} == READY_STATES
