"""Children that are forked from the worker."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from worker_kernel import PoolConfig
from worker_kernel.testing import RecordingListener
from worker_kernel.testing.fake_application import app
from worker_pool_prefork.pool import PreforkPool

PATIENCE = 30.0


def test_how_a_child_ended_is_known_also_when_another_one_was_started_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "worker_pool_prefork")
    options = {"worker_pool_start_method": "fork"}
    pool = PreforkPool(PoolConfig(limit=1, listener=RecordingListener(), app=app, threaded=False, options=options))
    pool.start()
    try:
        (child,) = pool._crew.everyone
        assert pool._reactor.turn_until(lambda: child.served, PATIENCE)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still to be waited for
        pool.grow(1)
        assert pool._reactor.turn_until(lambda: child not in pool._crew.everyone, PATIENCE)
        assert "ended with signal 9 (SIGKILL)" in caplog.text
    finally:
        pool.terminate()
