"""A process that has a pool and nothing else: runs jobs as its input says, one a line, and tells their values.

``python -m tests.plugins.prefork.alone OPTIONS``, these being fields of the pool's configuration as JSON, and besides:
``sole``, whether the pool gets ahead; ``threads``, how many there are by then; ``folder``, for two files, of which
``applications`` is open by then and ``workers`` later.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import signal
import sys
import threading
from pathlib import Path

import attrs
from tests.plugins.prefork.small_application import MARK, SmallJob, app

from worker_kernel import BootRecord, PoolConfig
from worker_kernel.testing import RecordingListener
from worker_pool_prefork.pool import PreforkPool


def _known(listener: RecordingListener, job_id: str) -> bool:
    return bool(listener.outcomes(job_id))


def main() -> None:
    """Live as that process."""
    options = json.loads(sys.argv[1])
    setattr(sys, MARK, True)
    gc.disable()
    signal.signal(signal.SIGHUP, lambda *_: None)
    folder = Path(options.pop("folder"))
    with (folder / "applications").open("w"):
        for _ in range(options.pop("threads", 0)):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        listener = RecordingListener()
        boot = BootRecord(origin=app.origin or "", path=tuple(sys.path), directory=str(Path.cwd()))
        sole = options.pop("sole")
        more = {"limit": 1, "threaded": False, "limit_grace": 0.2, "lost_wait": 1.0, "allow_restart": True, **options}
        config = PoolConfig(listener=listener, app=app, boot=boot, **more)
        config = attrs.evolve(config, ahead=PreforkPool.get_ahead(config) if sole else None)
        _work(config, folder / "workers")


def _work(config: PoolConfig, workers: Path) -> None:
    listener = config.listener
    assert isinstance(listener, RecordingListener)
    with workers.open("w"):
        pool = PreforkPool(config)
        pool.start()
        for number, line in zip(itertools.count(), sys.stdin, strict=False):
            if line.strip() == "restart":
                pool.restart()
                continue
            job = SmallJob(f"job-{number}", line.strip(), str(workers.parent))
            pool.submit(job)
            assert pool._reactor.turn_until(functools.partial(_known, listener, job.id), 30.0)
            print(listener.outcomes(job.id)[0].result, flush=True)
        pool.terminate()


if __name__ == "__main__":
    main()
