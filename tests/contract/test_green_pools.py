"""The conformance kit over the pools of green libraries, each in a process that is patched for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess

import pytest
from tests.contract.short_jobs import SLOTS

from worker_kernel.testing.patched import python_for

POOLS = {"gevent": "worker_pool_gevent.pool:GeventPool", "eventlet": "worker_pool_eventlet.pool:EventletPool"}


@pytest.mark.parametrize("library", sorted(POOLS))
def test_jobs_that_do_not_yield_share_a_slot_and_let_the_loop_turn(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [*python_for(library), "tests.contract.short_jobs", POOLS[library]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["short"] < SLOTS // 2  # one, and one more each time the machine takes its time
    assert seen["yielding"] == SLOTS
    assert seen["turns"] > 4  # 30 jobs of 4 ms: without, all of them in one


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
