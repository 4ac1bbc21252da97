"""What a worker says of itself at start: what it is, and what came from where."""

from __future__ import annotations

from ..masking import masked
from ..settings import Layer, Settings
from ..worker import Worker


def banner(worker: Worker, *, why_pool: str, version: str) -> list[str]:
    """Return the lines of the banner. Nothing is connected for it.

    Args:
        worker: as it was built; its application is configured.
        why_pool: why the pool was chosen.
        version: the kernel's.
    """
    settings, app = worker.settings, worker.app
    pool = f"{worker.pool_spec.name} x {worker.concurrency} ({why_pool}; {settings.source('worker_concurrency')})"
    rows = {
        "app": f"{app.name} ({app.origin})" if app.origin else app.name,
        "broker": f"{masked(worker.broker.url)}{_from(settings, 'broker_url')}",
        "results": _results(worker),
        "pool": pool,
        "loop": worker.loop_spec.name if worker.loop_spec is not None else "none is installed",
        "queues": f"{', '.join(queue.name for queue in app.queues())}{_from(settings, 'worker_queues')}",
    }
    return [
        f"{worker.node_name} ({f'worker-kernel {version}'.strip()})",
        *(f"  {name:<8} {text}" for name, text in rows.items()),
    ]


def _results(worker: Worker) -> str:
    """Return where results are kept; without a setting that is with the broker, if its transport has a store."""
    url = worker.settings.get_str("result_backend")
    if url is not None:
        return f"{masked(url)}{_from(worker.settings, 'result_backend')}"
    transport = worker.plugins.transports.get(worker.broker.url.partition("://")[0])
    kept = transport is not None and transport.result_backend
    return "with the broker (default)" if kept else "not kept (default: the broker has no store)"


def _from(settings: Settings, name: str) -> str:
    source = settings.source(name)
    return " (default)" if source.layer is Layer.DEFAULT else f" ({source})"
