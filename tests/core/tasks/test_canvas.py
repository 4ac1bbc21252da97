"""Chains, groups and chords: unfolded into calls, and chords joined by whoever brings the last part."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from tests.core.tasks.conftest import Lab

from worker_kernel import BrokerUnavailable, Envelope, MessageInvalid, OutcomeKind, StoreUnavailable, UnsupportedOption
from worker_kernel.tasks.canvas import DEPTH_LIMIT, heirs, unfold
from worker_kernel.tasks.publishing import Publisher

FAMILY = {"parent_id": "p", "root_id": "r"}


def one(task: str, *args: Any, **options: Any) -> dict[str, Any]:
    return {
        "task": task,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": False,
    }


def many(kind: str, *tasks: Any, **options: Any) -> dict[str, Any]:
    kwargs = {"tasks": list(tasks)}
    return {"task": f"celery.{kind}", "args": [], "kwargs": kwargs, "options": options, "subtask_type": kind}


def chord(header: Any, body: Any, **options: Any) -> dict[str, Any]:
    kwargs = {"header": header, "body": body}
    return {"task": "celery.chord", "args": [], "kwargs": kwargs, "options": options, "subtask_type": "chord"}


def names(chain: Any) -> list[str]:
    return [item["task"] for item in chain or ()]


def test_a_chain_is_its_first_task_which_carries_the_rest_the_next_one_last() -> None:
    (call,) = unfold(many("chain", one("a"), one("b"), one("c")), FAMILY, then=[one("e"), one("d")]).calls
    assert (call.task, names(call.options["chain"])) == ("a", ["e", "d", "c", "b"])
    assert (call.options["parent_id"], call.options["root_id"]) == ("p", "r")


def test_what_a_task_is_followed_by_itself_comes_before_what_follows_it_in_the_chain() -> None:
    (call,) = unfold(one("a", chain=[one("c"), one("b")]), FAMILY, then=[one("e"), one("d")]).calls
    assert names(call.options["chain"]) == ["e", "d", "c", "b"]


def test_a_group_is_its_tasks_with_their_places_and_groups_in_it_are_part_of_it() -> None:
    begun = unfold(many("group", one("a"), many("group", one("b"), one("c")), task_id="g", priority=3), FAMILY)
    assert [(call.task, call.options["group_id"], call.options["group_index"]) for call in begun.calls] == [
        ("a", "g", 0),
        ("b", "g", 1),
        ("c", "g", 2),
    ]
    assert {call.options["priority"] for call in begun.calls} == {3}
    assert not begun.sizes


def test_a_group_with_a_successor_is_a_chord() -> None:
    begun = unfold(many("group", one("a"), one("b"), task_id="g"), FAMILY, then=[one("d"), one("c")])
    assert begun.sizes == {"g": 2}
    body: Any = begun.calls[0].options["chord"]
    assert (body["task"], names(body["options"]["chain"])) == ("c", ["d"])


def test_the_last_of_a_chain_and_the_body_of_a_chord_are_the_parts_of_a_chord_around_them() -> None:
    header = [many("chain", one("a"), one("b")), chord([one("c")], one("d"), task_id="inner-body")]
    begun = unfold(chord(many("group", *header, task_id="g"), one("body")), FAMILY)
    first, second = begun.calls
    last: Any = first.options["chain"][0]  # type: ignore[index]  # a chain of one
    assert "chord" not in first.options
    assert (last["options"]["group_id"], last["options"]["group_index"]) == ("g", 0)
    inner: Any = second.options["chord"]
    assert (inner["task"], inner["options"]["group_id"], inner["options"]["group_index"]) == ("d", "g", 1)
    assert sorted(begun.sizes.values()) == [1, 2]


def test_the_body_of_an_empty_chord_gets_the_empty_list_at_once() -> None:
    (call,) = unfold(chord([], one("body", 5)), FAMILY).given("ignored")
    assert call.args == ([], 5)


def test_what_takes_nothing_takes_nothing_in_all_its_parts() -> None:
    begun = unfold({**many("group", one("a"), one("b")), "immutable": True}, FAMILY)
    assert [call.args for call in begun.given(1)] == [(), ()]


@pytest.mark.parametrize(
    ("item", "error", "reason"),
    [
        (many("chain"), MessageInvalid, "chain of nothing"),
        (many("group", 5), MessageInvalid, "no signatures"),
        (chord([one("a")], None), MessageInvalid, "without a body"),
        (chord(5, one("a")), MessageInvalid, "no signatures"),
        (many("xmap"), UnsupportedOption, "supported are task, chain, group and chord"),
        (many("group", one("a"), link=[one("b")]), UnsupportedOption, "group with link"),
        (chord([many("chain", one("a"), many("group", one("b")))], one("c")), UnsupportedOption, "itself a group"),
        (5, MessageInvalid, "no signature"),
    ],
)
def test_what_is_malformed_or_not_supported_is_told(item: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        unfold(item, FAMILY)


@pytest.mark.parametrize("kind", ["chain", "group"])
def test_nesting_has_a_limit(kind: str) -> None:
    deep = one("a")
    for _ in range(DEPTH_LIMIT + 2):
        deep = many(kind, deep)
    with pytest.raises(MessageInvalid, match="nested more than"):
        unfold(deep, FAMILY)
    assert not list(heirs(deep))


def test_heirs_are_all_whose_result_somebody_may_wait_for() -> None:
    item = many("chain", one("a", task_id="1"), chord([one("h", task_id="no")], one("b", task_id="2")))
    assert [heir.task_id for heir in heirs(item)] == ["1", "2"]


# -- chords ------------------------------------------------------------------------------------------------------------


def part(lab: Lab, task: str, index: int, body: Any, args: Any = (1, 2), embed: Any = None) -> Envelope:
    lab.app.send_task(task, list(args), task_id=f"part{index}")
    envelope = lab.envelope()
    headers = {**envelope.headers, "group": "g", "group_index": index}
    payload = [list(args), {}, {"chord": body, **(embed or {})}]
    return attrs.evolve(envelope, headers=headers, body=json.dumps(payload).encode())


@pytest.fixture
def chords(lab: Lab) -> Lab:
    lab.task(lambda x, y: x + y, name="add")
    lab.task(lambda *_: 1 / 0, name="fail")
    lab.store.sizes["g"] = 2
    return lab


def test_the_last_part_sends_the_body_with_all_results_in_order(chords: Lab) -> None:
    body = one("total", task_id="body")
    assert chords.job(part(chords, "add", 1, body, (3, 4))).run().kind is OutcomeKind.SUCCEEDED
    assert chords.empty()
    assert chords.job(part(chords, "add", 0, body)).run().kind is OutcomeKind.SUCCEEDED
    sent = chords.envelope()
    assert (sent.id, json.loads(bytes(sent.body))[0]) == ("body", [[3, 7]])  # type: ignore[arg-type]  # bytes here
    assert chords.store.sent == ["g"]


def test_one_failed_part_fails_the_body_its_chain_and_calls_its_errbacks(chords: Lab) -> None:
    body = one("total", task_id="body", chain=[one("add", task_id="after")], link_error=[one("told")])
    chords.job(part(chords, "fail", 0, body)).run()
    chords.job(part(chords, "add", 1, body)).run()
    for task_id in ("body", "after"):
        assert chords.store.metas[task_id]["status"] == "FAILURE"
        assert chords.store.metas[task_id]["result"]["exc_type"] == "ChordError"
    errback = chords.envelope()
    assert (errback.task, json.loads(bytes(errback.body))[0]) == ("told", ["body"])  # type: ignore[arg-type]  # not yet decoded
    assert chords.empty()


def test_a_failure_before_a_part_is_a_failed_part(chords: Lab) -> None:
    chords.store.sizes["g"] = 1
    body = one("total", task_id="body")
    last = one("add", 1, task_id="last", group_id="g", group_index=0, chord=body)
    chords.app.send_task("fail", chain=[last])
    chords.run()
    assert chords.store.metas["last"]["status"] == "FAILURE"
    assert chords.store.metas["body"]["result"]["exc_type"] == "ChordError"


def test_without_a_store_that_keeps_chords_part_and_body_fail_before_the_task_runs(chords: Lab) -> None:
    chords.store.keeps_chords = False
    outcome = chords.job(part(chords, "add", 0, one("total", task_id="body"))).run()
    assert outcome.failure is not None
    assert outcome.failure.type == "UnsupportedOption"
    assert chords.store.metas["body"]["status"] == "FAILURE"
    assert "counts its parts" in str(chords.store.metas["body"]["result"]["exc_message"])


def test_a_body_that_cannot_be_sent_hands_the_last_part_back(chords: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    body = one("total", task_id="body")
    chords.job(part(chords, "add", 1, body)).run()
    job = chords.job(part(chords, "add", 0, body))

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("gone for a test")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", refuse)
        outcome = job.run()
    assert (outcome.kind, outcome.requeue) == (OutcomeKind.REJECTED, True)
    assert not chords.store.sent
    chords.job(part(chords, "add", 0, body)).run()
    assert chords.envelope().id == "body"


def test_a_part_that_cannot_be_brought_is_not_stored(chords: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise StoreUnavailable("gone for a test")

    monkeypatch.setattr(chords.store, "chord_part", refuse)
    outcome = chords.job(part(chords, "add", 0, one("total"))).run()
    assert (outcome.kind, outcome.stored) == (OutcomeKind.SUCCEEDED, False)
    outcome = chords.job(part(chords, "fail", 0, one("total"))).run()
    assert (outcome.kind, outcome.stored) == (OutcomeKind.FAILED, False)


def test_nested_results_have_the_shape_that_the_client_saved(chords: Lab) -> None:
    chords.store.shapes["g"] = [["g", None], [[["part0", None], None], [["x", None], [[["part1", None], None]]]]]
    body = one("total", task_id="body")
    for index in (0, 1):
        chords.job(part(chords, "add", index, body)).run()
    assert json.loads(bytes(chords.envelope().body))[0] == [[3, [3]]]  # type: ignore[arg-type]  # bytes here


@pytest.mark.parametrize("index", ["first", True, 1.5])
def test_a_place_that_is_no_number_is_told(chords: Lab, index: Any) -> None:
    envelope = part(chords, "add", 0, one("total"))
    envelope = attrs.evolve(envelope, headers={**envelope.headers, "group_index": index})
    outcome = chords.job(envelope).run()
    assert (outcome.kind, outcome.invalid) == (OutcomeKind.FAILED, True)


def test_a_retry_stays_part_of_its_chord(chords: Lab, make_lab: Callable[..., Lab]) -> None:
    chords.task(lambda self: self.retry(countdown=0), bind=True, name="again")
    chords.job(part(chords, "again", 0, one("total"), args=())).run()
    again = chords.envelope()
    assert json.loads(bytes(again.body))[2]["chord"]["task"] == "total"  # type: ignore[arg-type]  # bytes here
    assert (again.headers["group"], again.headers["group_index"]) == ("g", 0)
