"""worker-broker-sqlite: the embedded broker and result store of worker-kernel, in one SQLite file.

Importing this imports neither kombu nor sqlite3; what needs them is named by string.
"""

from __future__ import annotations

from worker_kernel import (
    ResultStoreSpec,
    TransportSpec,
    implements,
    kernel_result_stores,
    kernel_transports,
)

CONTRACT = 1

__all__ = ["CONTRACT", "result_stores", "transports"]


@implements(kernel_transports)
def transports() -> list[TransportSpec]:
    """``sqlite:///relative.db`` and ``sqlite:////absolute.db`` as a broker."""
    return [
        TransportSpec(
            schemes=("sqlite",),
            alias="wk-sqlite",
            transport="worker_broker_sqlite.transport:Transport",
            asynchronous=True,
            result_backend=True,
            local_file=True,
        )
    ]


@implements(kernel_result_stores)
def result_stores() -> list[ResultStoreSpec]:
    """The same URLs as a result store."""
    return [ResultStoreSpec(schemes=("sqlite",), factory="worker_broker_sqlite.results:SqliteResultStore")]
