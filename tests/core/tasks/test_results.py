"""What a caller learns of a task, from our store or from Celery's."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import App, AsyncResult, Failure, StoreUnavailable, TaskError, TimeLimitExceeded, WorkerLostError
from worker_kernel.tasks.meta import exception_from, exception_record, plain, record, revived

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab


class OwnError(Exception):
    """An exception of an application's own."""


class Picky(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__("made of two")


def fail() -> None:
    raise OwnError("why", 3)


def test_a_result_that_nobody_knows_is_pending(lab: Lab) -> None:
    result = lab.app.AsyncResult("nobody")
    assert (result.state, result.status, result.ready(), result.result) == ("PENDING", "PENDING", False, None)
    assert (result.traceback, result.date_done, result.children) == (None, None, [])


def test_a_result_that_does_not_come_in_time_is_a_timeout(lab: Lab) -> None:
    with pytest.raises(TimeoutError, match="did not end within 0 s"):
        lab.app.AsyncResult("nobody").get(timeout=0)


def test_a_success_is_given_back(lab: Lab) -> None:
    result = lab.task(lambda: {"a": [1, None]}, name="t").delay()
    lab.run(result)
    assert result.get() == result.wait(1) == result.result == result.info == {"a": [1, None]}
    assert (result.state, result.ready(), result.successful(), result.failed()) == ("SUCCESS", True, True, False)
    assert result.date_done == datetime.fromtimestamp(lab.clock.now, UTC)


def test_a_failure_is_raised_as_what_it_was(lab: Lab) -> None:
    result = lab.task(fail).delay()
    lab.run(result)
    with pytest.raises(OwnError) as caught:
        result.get()
    assert caught.value.args == ("why", 3)
    assert isinstance(result.get(propagate=False), OwnError)
    assert (result.failed(), result.successful(), result.revoked()) == (True, False, False)


def test_what_is_final_is_not_asked_for_again(lab: Lab) -> None:
    result = lab.task(fail).delay()
    lab.run(result)
    assert result.state == "FAILURE"
    lab.store.metas.clear()
    assert result.state == "FAILURE"
    result.forget()
    assert result.state == "PENDING"


def test_results_with_one_id_are_equal(lab: Lab) -> None:
    one, two = lab.app.AsyncResult("i"), AsyncResult("i", lab.app)
    assert one == two
    assert len({one, two}) == 1
    assert (str(one), repr(one)) == ("i", "<AsyncResult: i>")


def test_waiting_inside_a_task_is_refused_where_it_blocks_a_slot(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    inner = lab.task(lambda: 5, name="inner").delay()
    lab.run(inner)
    told = lab.task(lambda insist: inner.get(disable_sync_subtasks=not insist), name="outer")
    refused, allowed = told.delay(False), told.delay(True)
    lab.run(refused)
    assert isinstance(refused.result, RuntimeError)
    assert "disable_sync_subtasks=False" in str(refused.result)
    lab.run(allowed)
    assert allowed.get() == 5
    lab.app.join_blocks = False
    free = told.delay(False)
    lab.run(free)
    assert free.get() == 5


def test_without_a_result_store_reading_is_a_clear_error_and_running_is_not(make_lab: Callable[..., Lab]) -> None:
    for backend in (None, "disabled://"):
        lab = make_lab(result_backend=backend)
        result = lab.task(lambda: 1, name="t").delay()
        assert lab.run(result).stored is True
        lab.app.check_result_store()
        for read in (result.get, lambda result=result: result.state, result.forget):
            with pytest.raises(StoreUnavailable, match="no result store is configured"):
                read()


def test_a_result_store_that_does_not_exist_is_named_with_those_that_do(make_lab: Callable[..., Lab]) -> None:
    with pytest.raises(StoreUnavailable, match="did you mean lab://"):
        make_lab(result_backend="labb://x").app.check_result_store()
    with pytest.raises(StoreUnavailable, match="installed: rpc, lab"):
        make_lab(result_backend="redis://x").app.check_result_store()
    with pytest.raises(StoreUnavailable, match="one URL"):
        make_lab(result_backend="lab://a;lab://b").app.check_result_store()


def test_the_store_is_told_how_long_results_are_kept(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(result_backend="lab://place?hub=0", result_expires=60)
    lab.app.check_result_store()
    assert (lab.store.url, lab.store.expires) == ("lab://place", 60.0)
    lab.app.close()
    assert lab.store.closed
    forever = make_lab(result_expires=0)
    forever.app.check_result_store()
    assert forever.store.expires is None


@pytest.mark.parametrize(
    ("stored", "kind", "args"),
    [
        (("builtins", "ValueError", ["x"]), ValueError, ("x",)),
        (("builtins", "ValueError", "x"), ValueError, ("x",)),
        ((__name__, "OwnError", [1]), OwnError, (1,)),
        (("billiard.exceptions", "TimeLimitExceeded", [3]), TimeLimitExceeded, (3,)),
        (("billiard.exceptions", "WorkerLostError", ["k"]), WorkerLostError, ("k",)),
    ],
)
def test_a_stored_exception_has_its_own_class(
    stored: tuple[str, str, object], kind: type[Exception], args: tuple[object, ...]
) -> None:
    exc = exception_from(dict(zip(("exc_module", "exc_type", "exc_message"), stored, strict=True)))
    assert type(exc) is kind
    assert exc.args == args


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("os", "system"),
        ("builtins", "SystemExit"),
        ("builtins", "print"),
        ("builtins", "int"),
        ("antigravity", "Error"),
        ("json", "decoder.x"),
        ("never.imported", "Odd"),
        (None, "Odd"),
        (__name__, "Picky"),
        ("", ""),
    ],
)
def test_what_is_stored_decides_nothing_about_this_process(module: Any, kind: str) -> None:
    import sys

    before = set(sys.modules)
    exc = exception_from({"exc_type": kind, "exc_message": ["a"], "exc_module": module})
    assert isinstance(exc, TaskError)
    assert (exc.args, set(sys.modules) - before) == (("a",), set())


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_is_stored_as_an_exception_one_can_be_made_of_it(stored: object) -> None:
    assert isinstance(exception_from(stored), Exception)
    assert isinstance(exception_from({"exc_type": "E", "exc_message": stored, "exc_module": stored}), Exception)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2030, 1, 1, tzinfo=UTC),
        uuid.UUID(int=5),
        Decimal("1.5"),
        b"bytes",
        b"\xff",
        [{"a": Decimal(2)}],
        1.5,
        None,
    ],
    ids=repr,
)
def test_values_beyond_json_come_back_as_with_celery(value: object) -> None:
    stored = json.loads(json.dumps(plain(value)))
    assert revived(stored) == value


def test_a_tag_of_somebody_else_is_left_alone() -> None:
    for odd in (
        {"__type__": "odd", "__value__": 1},
        {"__type__": [], "__value__": 1},
        {"__type__": "uuid", "__value__": 3},
    ):
        assert revived([odd]) == [odd]


def test_children_and_group_are_laid_out_as_celery_does() -> None:
    meta = record("i", "SUCCESS", 1, now=0, children=[("c", "i")], headers={"group": "g", "parent_id": "p"})
    assert (meta["group_id"], meta["parent_id"]) == ("g", "p")
    from celery import Celery
    from celery.result import result_from_tuple

    theirs = Celery("theirs", backend="cache+memory://", set_as_current=False)
    child = result_from_tuple(meta["children"][0], app=theirs)
    assert (child.id, child.parent.id) == ("c", "i")


def test_celery_reads_what_we_store(lab: Lab) -> None:
    from celery import Celery

    theirs = Celery("theirs", backend="cache+memory://", set_as_current=False)
    done, failed = lab.task(lambda: {"a": Decimal(1)}, name="t").delay(), lab.task(fail).delay()
    lab.run(done)
    lab.run(failed)
    read = [theirs.backend.decode_result(json.dumps(lab.store.metas[one.id])) for one in (done, failed)]
    assert (read[0]["status"], read[0]["result"]) == ("SUCCESS", {"a": Decimal(1)})
    assert (read[1]["status"], type(read[1]["result"]), read[1]["result"].args) == ("FAILURE", OwnError, ("why", 3))
    ours = set(lab.store.metas[done.id])
    theirs.backend.store_result("x", 1, "SUCCESS")
    assert ours == set(theirs.backend.get_task_meta("x"))


def test_we_read_what_celery_stores(lab: Lab) -> None:
    from celery import Celery

    theirs = Celery("theirs", backend="cache+memory://", set_as_current=False)
    for exc in (OwnError("why"), TimeLimitExceeded(3)):
        lab.store.metas["x"] = json.loads(theirs.backend.encode_result(exc, "FAILURE") and theirs.backend.encode(
            theirs.backend._get_result_meta(theirs.backend.encode_result(exc, "FAILURE"), "FAILURE", None, None)
        ))  # fmt: skip
        assert repr(App.AsyncResult(lab.app, "x").result) == repr(exc)


def test_failures_of_ours_are_stored_under_celerys_names() -> None:
    assert exception_record(Failure.of(WorkerLostError("x")))["exc_type"] == "WorkerLostError"
    assert exception_record(Failure.of(ValueError("x"))) == {
        "exc_type": "ValueError", "exc_message": ["x"], "exc_module": "builtins"
    }  # fmt: skip
