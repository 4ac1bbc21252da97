"""The conformance kit over the pools of green libraries, each in a process that is patched for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess

import pytest

from worker_kernel.testing.patched import python_for

POOLS = {"gevent": "worker_pool_gevent.pool:GeventPool", "eventlet": "worker_pool_eventlet.pool:EventletPool"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("library", sorted(POOLS))
def test_every_promise_is_kept_whatever_would_swallow_a_kill(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [*python_for(library), "worker_kernel.testing.promises", POOLS[library], library]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    broken = json.loads(done.stdout.splitlines()[-1])
    assert not broken, "\n".join(f"{name}: {said}" for name, said in broken.items())
