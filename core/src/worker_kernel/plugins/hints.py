"""What names of ours mean: which distribution to install, for messages only, and which pool. Nothing is looked up."""

from __future__ import annotations

from collections.abc import Mapping

ALIASES: Mapping[str, str] = {"processes": "prefork"}
"""Other names that ``-P`` takes for a pool."""

_DISTRIBUTIONS: Mapping[str, str] = {
    # pools
    "solo": "worker-pool-solo",
    "threads": "worker-pool-threads",
    "prefork": "worker-pool-prefork",
    "gevent": "worker-pool-gevent",
    "eventlet": "worker-pool-eventlet",
    # plugins, and the steps and loops that they declare
    "hub": "worker-hub",
    "timer": "worker-hub",
    "loops": "worker-loops",
    "consumer": "worker-loops",
    "asynloop": "worker-loops",
    "synloop": "worker-loops",
    "autoscale": "worker-autoscale",
    "autoscaler": "worker-autoscale",
    # brokers and result stores
    "sqlite": "worker-broker-sqlite",
    "redis": "worker-broker-redis",
}


def distribution_of(name: str) -> str | None:
    """Return our distribution that brings the pool, plugin, step, loop or scheme ``name``; None: none of ours does."""
    return _DISTRIBUTIONS.get(name)
