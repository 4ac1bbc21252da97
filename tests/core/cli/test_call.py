"""``kernel call``, ``kernel result`` and ``kernel purge`` on the embedded broker, in this process."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from worker_kernel import App
from worker_kernel.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


TASKS = """
from worker_kernel import App
app = App("shop")
@app.task
def add(x, y=1):
    return x + y
@app.task(queue="slow", priority=4)
def fail(word):
    raise LookupError(word)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An app in a module of the current directory."""
    (tmp_path / "shop_tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    module = importlib.import_module("shop_tasks")
    yield module.app
    module.app.close()
    sys.modules.pop("shop_tasks")


@pytest.fixture
def kernel(shop: App, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line and returns exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def work(app: App, queue: str = "celery") -> None:
    """Run what waits, as a worker would."""
    connection = app.connection()
    channel = connection.default_channel
    while (message := channel.basic_get(queue)) is not None:
        envelope = app.parse(message)
        app.job(envelope, app.tasks()[envelope.task]).run()
        message.ack()
    connection.release()


def test_call_prints_the_id_and_result_the_value(kernel: Callable[..., tuple[int, str, str]], shop: App) -> None:
    code, out, err = kernel("call", "-A", "shop_tasks", "shop_tasks.add", "--args", "[2]", "--kwargs", '{"y": 3}')
    assert (code, err) == (0, "")
    task_id = out.strip()
    assert kernel("result", task_id)[:2] == (0, "PENDING\n")
    work(shop)
    assert kernel("result", task_id) == (0, "5\n", "")
    code, out, _ = kernel("result", task_id, "--json")
    document = json.loads(out)
    assert (code, document["schema"], document["id"], document["state"], document["result"]) == (
        0,
        1,
        task_id,
        "SUCCESS",
        5,
    )


def test_options_of_the_task_hold_and_a_failure_is_exit_code_1(
    kernel: Callable[..., tuple[int, str, str]], shop: App
) -> None:
    code, out, _ = kernel("-A", "shop_tasks", "call", "shop_tasks.fail", "--args", '["why"]', "--json")
    task_id = json.loads(out)["id"]
    assert code == 0
    work(shop, "slow")
    assert kernel("result", task_id) == (1, "FAILURE: LookupError: why\n", "")
    code, out, _ = kernel("result", task_id, "--json", "--timeout", "1")
    document = json.loads(out)
    assert (code, document["error"]) == (1, {"type": "LookupError", "message": "why"})
    assert "raise LookupError(word)" in document["traceback"]


def test_waiting_is_bounded(kernel: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = kernel("call", "-A", "shop_tasks", "shop_tasks.add", "--args", "[1]", "--wait", "--timeout", "0")
    assert (code, out) == (1, "")
    assert "did not end within 0 s" in err
    assert kernel("result", "nobody", "--timeout", "0")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-A", "shop_tasks", "add"], "did you mean 'shop_tasks.add'?"),
        (["-A", "shop_tasks", "nothing.like.it"], "it has: shop_tasks.add, shop_tasks.fail"),
        (["-A", "shop_tasks", "shop_tasks.add"], "missing a required argument: 'x'"),
        (["-A", "shop_tasks", "shop_tasks.add", "--args", "[1"], "no JSON"),
        (["-A", "shop_tasks", "shop_tasks.add", "--args", "{}"], "no JSON list"),
        (["-A", "shop_tasks", "shop_tasks.add", "--kwargs", "[]"], "no JSON object"),
        (["-A", "shop_tasks", "shop_tasks.add", "--args", "[1]", "--countdown", "-3"], "countdown"),
        (["-A", "shop_tasks", "shop_tasks.add", "--args", "[1]", "--priority", "999"], "priority"),
        (["-b", "sqlit:///x", "x"], "did you mean sqlite://?"),
    ],
)
def test_what_cannot_be_called_is_exit_code_2_in_a_few_lines(
    kernel: Callable[..., tuple[int, str, str]], arguments: list[str], words: str
) -> None:
    code, out, err = kernel("call", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) <= 5
    assert "Traceback" not in err


def test_a_result_store_that_does_not_exist_is_exit_code_2(kernel: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = kernel("result", "x", "--result-backend", "sqlit:///x")
    assert code == 2
    assert "did you mean sqlite://?" in err


def test_a_broker_that_is_away_is_exit_code_5(kernel: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = kernel("purge", "-f", "-b", "amqp://me:secret@127.0.0.1:1//")
    assert code == 5
    assert "amqp://me:**@127.0.0.1:1//" in err
    assert len(err.splitlines()) <= 5


def test_purge_empties_the_queues_that_are_named(
    kernel: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        kernel("call", "-A", "shop_tasks", "shop_tasks.add", "--args", "[1]")
    kernel("call", "-A", "shop_tasks", "shop_tasks.fail", "--args", '["x"]')
    code, out, _ = kernel("purge", "--json", "-Q", "slow,never")
    assert (code, json.loads(out)["purged"]) == (0, {"slow": 1, "never": 0})
    assert kernel("purge", "-f")[1] == "celery: 3 messages thrown away\n"


def test_purge_asks_first(
    kernel: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, shop: App
) -> None:
    kernel("call", "-A", "shop_tasks", "shop_tasks.add", "--args", "[1]")
    asked: list[str] = []

    def refuse(prompt: str = "") -> str:
        asked.append(prompt)
        return "n"

    import click

    monkeypatch.setattr(click.termui, "visible_prompt_func", refuse)
    code, out, _ = kernel("purge")
    assert code != 0
    assert "celery" in asked[0] or "celery" in out
    work(shop)  # it is still there, and can be run
    assert kernel("purge", "-f")[1] == "celery: 0 messages thrown away\n"


def test_a_task_of_nobodys_can_be_sent_without_an_app(kernel: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = kernel("call", "somebody.elses", "--task-id", "my-id", "-Q", "theirs", "--countdown", "5")
    assert (code, out) == (0, "my-id\n")
    assert kernel("purge", "-f", "-Q", "theirs")[1] == "theirs: 1 message thrown away\n"


def test_parameters_are_typed_for_the_reader(kernel: Callable[..., tuple[int, str, str]]) -> None:
    help_text: Any = kernel("call", "--help")[1]
    for option in ("--args", "--kwargs", "--countdown", "--wait", "--timeout", "--json"):
        assert option in help_text
