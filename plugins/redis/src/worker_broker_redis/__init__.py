"""worker-broker-redis: Redis as broker and result store of worker-kernel, on the keys of kombu and Celery.

Importing this imports neither kombu nor redis; what needs them is named by string.
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

SCHEMES = ("redis", "rediss", "sentinel")


@implements(kernel_transports)
def transports() -> list[TransportSpec]:
    """``redis://``, ``rediss://``, ``redis+socket://`` and ``sentinel://`` as a broker.

    Each scheme has an alias of its own, because kombu tells a transport nothing else of the URL's scheme at failover.
    """
    return [
        TransportSpec(
            schemes=(scheme,),
            alias=f"wk-{scheme}",
            transport="worker_broker_redis.transport:Transport",
            asynchronous=True,
            result_backend=True,
        )
        for scheme in SCHEMES
    ]


@implements(kernel_result_stores)
def result_stores() -> list[ResultStoreSpec]:
    """The same URLs as a result store."""
    return [ResultStoreSpec(schemes=SCHEMES, factory="worker_broker_redis.results:RedisResultStore")]
