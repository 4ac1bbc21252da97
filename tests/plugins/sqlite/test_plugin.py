from __future__ import annotations

import subprocess
import sys

import pluggy

import worker_broker_sqlite
import worker_kernel
from worker_broker_sqlite.results import READY_STATES, SqliteResultStore
from worker_broker_sqlite.transport import Transport


def test_the_plugin_states_its_contract() -> None:
    assert worker_broker_sqlite.CONTRACT == worker_kernel.CONTRACT


def test_every_public_name_exists() -> None:
    assert all(hasattr(worker_broker_sqlite, name) for name in worker_broker_sqlite.__all__)


def test_loading_the_plugin_imports_neither_kombu_nor_sqlite3() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what measures coverage may have come first
        "import pluggy, worker_broker_sqlite as plugin\n"
        "pluggy.PluginManager('worker_kernel').register(plugin)\n"
        "plugin.transports(), plugin.result_stores()\n"
        "sys.stderr.write(' '.join({'kombu', 'sqlite3', 'amqp', 'billiard'} & set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_declared_names_lead_to_the_classes() -> None:
    manager = pluggy.PluginManager("worker_kernel")
    (transport,) = worker_broker_sqlite.transports()
    (store,) = worker_broker_sqlite.result_stores()
    manager.register(worker_broker_sqlite)
    assert transport.transport == f"{Transport.__module__}:{Transport.__name__}"
    assert transport.alias == "wk-sqlite"
    assert transport.result_backend
    assert store.factory == f"{SqliteResultStore.__module__}:{SqliteResultStore.__name__}"
    assert transport.schemes == store.schemes == ("sqlite",)
    assert {"SUCCESS", "FAILURE", "REVOKED"} == READY_STATES
