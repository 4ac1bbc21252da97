"""The first zygote is forked ahead, from a process of one thread that is the worker's alone; others are executed."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Alone:
    """A process that has a pool and nothing else; see `alone`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        given = json.dumps({"folder": str(folder), **options})
        command = [sys.executable, "-m", "tests.plugins.prefork.alone", given]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        if line == "restart":
            return ""
        told = self.process.stdout.readline()
        assert told, "it has ended"
        return str(ast.literal_eval(told)) if told.strip() else ""

    def look(self) -> Any:
        while not (told := self.say("look")):
            pass  # that job was lost with its child
        return json.loads(told)

    def end(self) -> int:
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Alone]]:
    made: list[Alone] = []

    def make(**options: Any) -> Alone:
        made.append(Alone(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate()


def test_it_is_forked_where_the_process_is_the_workers_alone_and_shares_nothing_that_is_the_workers_own(
    alone: Callable[..., Alone], tmp_path: Path
) -> None:
    worker = alone(sole=True)
    seen = worker.look()
    assert seen.pop("inherited") == [str(tmp_path / "applications")]
    assert seen.pop("zygote") not in (worker.process.pid, os.getpid())
    assert 0 <= seen.pop("random") < 1
    assert seen == {
        "forked": True, "group": True, "blocked": 0, "default": True, "collects": True,
    }  # fmt: skip
    assert worker.end() == 0


@pytest.mark.parametrize(
    "options",
    [
        {"sole": False},
        {"sole": True, "threads": 1},
        {"sole": True, "options": {"worker_pool_start_method": "spawn"}},
    ],
    ids=["another's process", "a thread beside it", "the user wants it so"],
)
def test_it_is_executed_where_that_is_not_so(alone: Callable[..., Alone], options: dict[str, Any]) -> None:
    worker = alone(**options)
    seen = worker.look()
    assert seen["forked"] is False
    assert seen["inherited"] == []
    assert seen["collects"] is True
    assert worker.end() == 0


def test_children_that_are_forked_later_have_what_the_application_had_opened_and_nothing_of_the_workers(
    alone: Callable[..., Alone], tmp_path: Path
) -> None:
    worker = alone(sole=True, options={"worker_pool_start_method": "fork"})
    assert worker.look()["inherited"] == [str(tmp_path / "applications")]
    assert worker.end() == 0


def test_the_one_after_it_is_executed_and_has_the_code_of_then(alone: Callable[..., Alone]) -> None:
    worker = alone(sole=True)
    first = worker.look()
    worker.say("restart")
    while (second := worker.look())["zygote"] == first["zygote"]:
        pass
    assert (first["forked"], second["forked"]) == (True, False)
    os.kill(second["zygote"], signal.SIGKILL)
    while (third := worker.look())["zygote"] == second["zygote"]:
        pass
    assert third["forked"] is False
    assert worker.end() == 0


def test_it_does_not_take_a_signal_for_the_workers_and_ends_with_it(
    alone: Callable[..., Alone], until: Callable[[Callable[[], object], str], None]
) -> None:
    worker = alone(sole=True)
    zygote = worker.look()["zygote"]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{zygote}/status").read_text().splitlines() if ":\t" in line
    )
    caught, ignored = int(status["SigCgt"], 16), int(status["SigIgn"], 16)
    assert not caught >> (signal.SIGHUP - 1) & 1
    assert ignored >> (signal.SIGTERM - 1) & 1
    worker.process.kill()
    until(lambda: not _lives(zygote), "its end")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_each_child_has_random_numbers_of_its_own(alone: Callable[..., Alone]) -> None:
    worker = alone(sole=True, max_tasks_per_child=1)
    seen = [worker.look() for _ in range(4)]
    assert {one["forked"] for one in seen} == {True}
    assert len({one["random"] for one in seen}) == len(seen)
    assert worker.end() == 0
