"""A pool that does not say how a job has ended does not keep its slot, nor its message, for ever."""

from __future__ import annotations

from typing import Any


def test_a_worker_gets_over_a_pool_that_swallows_an_ending(site: Any, until: Any) -> None:
    site.write("""
        @app.task
        def add(a, b):
            mark("run")
            return a + b
    """)
    (site.folder / "lying.py").write_text(
        "from worker_pool_threads.pool import ThreadsPool\n"
        "class Forgetful(ThreadsPool):\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config)\n"
        "        self.told = 0\n"
        "    def _tell(self, what, *args):\n"
        "        if what == self.config.listener.finished:\n"
        "            self.told += 1\n"
        "            if self.told == 1:\n"
        "                return\n"
        "        super()._tell(what, *args)\n"
    )
    worker = site.worker("-P", "lying:Forgetful", "-c", "1", PYTHONPATH=str(site.folder))
    first = site.app.send_task("tasks.add", (2, 3))
    second = site.app.send_task("tasks.add", (4, 5))
    assert second.get(timeout=60) == 9
    assert first.get(timeout=60) == 5
    until(lambda: site.queue_size() == 0, "no message to be left")
    assert site.lines() == [["run"]] * 3, "the one that was forgotten has run again"
    assert worker.log.count("slot audit") == 1
    assert f"tasks.add[{first.id}]: it counts as lost" in worker.log
    assert worker.stop(audit=False) == 0, worker.log
