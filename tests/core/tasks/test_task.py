"""Declaring tasks, calling them here, sending them elsewhere, and what they see of their message."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from worker_kernel import App, Application, SettingsError, TaskNotRegistered, TaskOptions, UsageError
from worker_kernel.apploader import is_application
from worker_kernel.tasks.naming import find_origin, nearest, task_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab


def add(x: int, y: int = 1) -> int:
    """Add."""
    return x + y


# -- declaring ---------------------------------------------------------------------------------------------------------


def test_a_task_is_named_by_module_and_function_unless_it_says_otherwise(lab: Lab) -> None:
    assert lab.app.task(add).name == f"{__name__}.add"
    assert lab.task(add, name="plus").name == "plus"
    assert list(lab.app.tasks()) == sorted(["plus", f"{__name__}.add"])


def test_a_task_looks_like_its_function(lab: Lab) -> None:
    task = lab.app.task(add)
    assert (task.__name__, task.__doc__, task.__wrapped__) == ("add", "Add.", add)  # type: ignore[attr-defined]  # by update_wrapper
    assert task(1, y=2) == 3


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rate_limt": "1/s"}, TypeError, "did you mean 'rate_limit'"),
        ({"rate_limit": "fast"}, ValueError, "rate_limit is 'fast'"),
        ({"workload": "gpu"}, ValueError, "workload takes 'cpu', 'io' or None, not 'gpu'"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": True}, ValueError, "max_retries"),
        ({"time_limit": 0}, ValueError, "time_limit"),
        ({"soft_time_limit": 9, "time_limit": 3}, ValueError, "must not be above"),
        ({"throws": (5,)}, TypeError, "exception classes"),
        ({"autoretry_for": ["x"]}, TypeError, "exception classes"),
    ],
)
def test_wrong_options_of_a_task_are_refused_where_they_are_written(
    lab: Lab, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lab.app.task(**options)


def test_two_functions_cannot_be_one_task_but_a_module_may_be_loaded_again(lab: Lab) -> None:
    lab.task(add, name="plus")
    lab.task(add, name="plus")
    with pytest.raises(UsageError, match="two functions want to be the task 'plus'"):
        lab.task(lambda: None, name="plus")


def test_options_that_a_task_leaves_open_are_the_settings(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(task_acks_late=False, task_reject_on_worker_lost=False, task_default_rate_limit="5/m")
    lab.task(add, name="open")
    lab.task(
        add, name="own", acks_late=True, rate_limit=7, time_limit=9, soft_time_limit=2, acks_on_timeout=False,
        workload="io",
    )  # fmt: skip
    found = lab.app.tasks()
    assert found["open"] == TaskOptions(name="open", acks_late=False, reject_on_worker_lost=False, rate_limit="5/m")
    assert found["own"] == TaskOptions(
        name="own", acks_late=True, reject_on_worker_lost=False, acks_on_timeout=False, rate_limit="7", time_limit=9,
        soft_time_limit=2, workload="io",
    )  # fmt: skip


def test_an_app_is_an_application(lab: Lab) -> None:
    application: Application = lab.app
    assert is_application(application)


def test_tasks_can_be_listed_before_anything_is_read() -> None:
    app = App("early", broker_url="nonsense")

    @app.task
    async def later() -> None: ...

    assert app.tasks() == {f"{__name__}.{later.__qualname__}": TaskOptions(name=later.name, is_async=True)}  # type: ignore[attr-defined]  # by update_wrapper


def test_a_task_that_is_not_there_is_answered_with_the_nearest(lab: Lab) -> None:
    lab.task(add, name="proj.add")
    with pytest.raises(TaskNotRegistered, match=r"did you mean 'proj\.add'"):
        lab.app.find_task("add")
    assert nearest("proj.ad", ["proj.add", "x"]) == "proj.add"
    assert nearest("zzz", ["proj.add"]) is None


@pytest.mark.parametrize(
    ("spec", "file", "app_name", "expected"),
    [
        ("proj.tasks", "/x/proj/tasks.py", "other", "proj.tasks.f"),
        ("proj.__main__", "/x/proj/__main__.py", None, "proj.f"),
        (None, "/x/tasks.py", None, "tasks.f"),
        (None, "/x/tasks.py", "digest", "tasks.f"),
        (None, "/x/tasks.py", "proj.tasks", "proj.tasks.f"),
        (None, None, "shell", "shell.f"),
        (None, None, None, "__main__.f"),
    ],
)
def test_a_task_in_a_script_is_named_as_a_worker_would_import_it(
    monkeypatch: pytest.MonkeyPatch, spec: str | None, file: str | None, app_name: str | None, expected: str
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = types.SimpleNamespace(name=spec) if spec else None  # type: ignore[assignment]  # only its name is read
    main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert task_name("__main__", "f", app_name) == expected
    assert task_name("proj.mod", "f", app_name) == "proj.mod.f"


def test_an_origin_is_a_module_that_can_be_imported_never_main(monkeypatch: pytest.MonkeyPatch) -> None:
    app = object()
    module, main = types.ModuleType("made_up"), types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setitem(sys.modules, "__mp_main__", main)
    main.app = app  # type: ignore[attr-defined]  # made up
    assert find_origin(app, "__main__") is None
    monkeypatch.setitem(sys.modules, "made_up", module)
    module.my_app = app  # type: ignore[attr-defined]  # made up
    assert find_origin(app, "__main__") == "made_up:my_app"


def test_settings_are_read_when_they_are_needed_and_told_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = App("wrong", broker_url="memory://", task_acks_latte=True, worker_concurrency="many")
    with pytest.raises(SettingsError) as caught:
        app.broker()
    assert len(caught.value.problems) == 2
    monkeypatch.setenv("KERNEL_TASK_DEFAULT_QUEUE", "from-outside")
    assert [queue.name for queue in App("right", broker_url="memory://").queues()] == ["from-outside"]


# -- sending -----------------------------------------------------------------------------------------------------------


def test_a_call_that_the_function_would_not_take_is_refused_before_it_is_sent(lab: Lab) -> None:
    task = lab.task(add)
    for arguments in ([], [1, 2, 3]):
        with pytest.raises(TypeError, match=r"task .*add: "):
            task.apply_async(arguments)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        task.apply_async([1], {"z": 1})
    assert lab.empty()


def test_a_bound_task_does_not_count_itself_among_the_arguments(lab: Lab) -> None:
    task = lab.task(lambda self, x: x, bind=True, name="bound")
    task.delay(1)
    assert lab.run().result == "1"


def test_options_of_the_task_hold_unless_the_call_says_otherwise(lab: Lab) -> None:
    task = lab.task(add, queue=f"{lab.queue}-own", priority=7)
    task.delay(1)
    assert lab.envelope(f"{lab.queue}-own").properties["priority"] == 7
    task.apply_async([1], queue=f"{lab.queue}-given", priority=0)
    assert lab.envelope(f"{lab.queue}-given").properties["priority"] == 0


def test_an_unknown_retry_policy_is_refused(lab: Lab) -> None:
    with pytest.raises(TypeError, match="did you mean 'max_retries'"):
        lab.task(add).apply_async([1], retry_policy={"max_retry": 1})


def test_tasks_sent_inside_a_task_become_its_children(lab: Lab) -> None:
    child = lab.task(add)
    parent = lab.task(lambda: child.delay(1).id, name="parent")
    result = parent.delay()
    lab.run(result)
    sent = lab.envelope()
    assert (sent.headers["parent_id"], sent.headers["root_id"]) == (result.id, result.id)
    assert [one.id for one in result.children] == [sent.id]


# -- the request -------------------------------------------------------------------------------------------------------


def test_a_task_sees_its_message(lab: Lab) -> None:
    seen: list[Any] = []
    task = lab.task(lambda self, x: seen.append(attrs.asdict(self.request)), bind=True, name="look")
    result = task.apply_async([1], headers={"trace": "t"}, time_limit=9, priority=3)
    lab.run(result)
    (request,) = seen
    assert (request["id"], request["task"], request["args"], request["retries"]) == (result.id, "look", (1,), 0)
    assert (request["called_directly"], request["is_eager"]) == (False, False)
    assert request["headers"]["trace"] == "t"
    assert request["timelimit"] == (9.0, None)
    assert request["delivery_info"] == {"exchange": "", "routing_key": lab.queue, "priority": 3, "redelivered": False}
    assert request["hostname"] == lab.app.node_name
    assert request["correlation_id"] == result.id


def test_a_direct_call_sees_a_request_of_its_own_also_inside_a_task(lab: Lab) -> None:
    inner = lab.task(lambda self, x: [self.request.called_directly, self.request.id, list(self.request.args)],
                     bind=True, name="inner")  # fmt: skip
    outer = lab.task(lambda self: [inner(5), self.request.called_directly], bind=True, name="outer")
    assert inner(4) == [True, None, [4]]
    result = outer.delay()
    lab.run(result)
    assert result.get() == [[True, None, [5]], False]


def test_threads_see_their_own_requests(lab: Lab) -> None:
    both = threading.Barrier(2, timeout=30)

    def meet(self: Any) -> str:
        both.wait()
        return str(self.request.id)

    task = lab.task(meet, bind=True)
    results = [task.delay(), task.delay()]
    threads = [threading.Thread(target=job.run) for job in [lab.job(), lab.job()]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [result.get() for result in results] == [result.id for result in results]


def test_an_async_function_called_directly_sees_its_request_while_it_is_awaited(lab: Lab) -> None:
    async def look(self: Any, x: int) -> list[object]:
        await asyncio.sleep(0)
        return [self.request.called_directly, list(self.request.args)]

    task = lab.task(look, bind=True)

    async def main() -> Any:
        return await task(3)

    assert contextvars.copy_context().run(asyncio.run, main()) == [True, [3]]
