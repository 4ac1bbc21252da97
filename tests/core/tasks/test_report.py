"""Fates that were decided elsewhere, and jobs on their way to another process."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from worker_kernel import (
    Envelope,
    Failure,
    Fence,
    KernelBug,
    MessageInvalid,
    Outcome,
    OutcomeKind,
    TaskNotRegistered,
    WorkerLostError,
)
from worker_kernel.tasks import frames
from worker_kernel.tasks.envelope import parse
from worker_kernel.tasks.wire import Delivered, read_wire

if TYPE_CHECKING:
    from tests.core.tasks.conftest import Lab


def add(x: int, y: int = 1) -> int:
    return x + y


def fate(job_id: str, kind: OutcomeKind, **more: Any) -> Outcome:
    return Outcome(job_id=job_id, kind=kind, **more)


@pytest.mark.parametrize(
    ("kind", "state", "exc_type", "errbacks"),
    [
        (OutcomeKind.FAILED, "FAILURE", "TaskError", 1),
        (OutcomeKind.TIMED_OUT, "FAILURE", "TimeLimitExceeded", 1),
        (OutcomeKind.LOST, "FAILURE", "WorkerLostError", 1),
        (OutcomeKind.REJECTED, "FAILURE", "Reject", 1),
        (OutcomeKind.CANCELLED, "REVOKED", "TaskRevokedError", 0),
    ],
)
def test_a_report_stores_the_fate_and_calls_errbacks_of_failures(
    lab: Lab, kind: OutcomeKind, state: str, exc_type: str, errbacks: int
) -> None:
    task = lab.task(add)
    result = task.apply_async([1], link_error=task.s(5), link=task.s(6))
    envelope = lab.envelope()
    report = lab.app.report(envelope, fate(envelope.id, kind))
    assert report.is_report
    outcome = report.run()
    assert (outcome.kind, outcome.stored) == (kind, True)
    assert (result.state, lab.store.metas[result.id]["result"]["exc_type"]) == (state, exc_type)
    if errbacks:
        assert json.loads(bytes(lab.envelope().body))[0] == [result.id, 5]  # type: ignore[arg-type]  # bytes here
    assert lab.empty()


def test_a_report_says_what_it_was_told(lab: Lab) -> None:
    lab.app.send_task("unknown", [1])
    envelope = lab.envelope()
    failure = Failure.of(TaskNotRegistered("no such task"))
    outcome = lab.app.report(envelope, fate(envelope.id, OutcomeKind.FAILED, failure=failure)).run()
    assert outcome == fate(envelope.id, OutcomeKind.FAILED, failure=failure, stored=True)
    stored = lab.store.metas[envelope.id]["result"]
    assert stored == {"exc_type": "NotRegistered", "exc_message": ["no such task"], "exc_module": "celery.exceptions"}


def test_a_report_of_an_undecodable_body_stores_the_state_alone(lab: Lab) -> None:
    lab.task(add).delay(1)
    envelope = attrs.evolve(lab.envelope(), body=b"{")
    assert lab.app.report(envelope, fate(envelope.id, OutcomeKind.LOST)).run().stored is True
    assert lab.store.states(envelope.id) == ["FAILURE"]


def test_a_report_that_comes_too_late_is_fenced(lab: Lab) -> None:
    lab.task(add).delay(1)
    envelope = attrs.evolve(lab.envelope(), fence=Fence(authority="a", token="old"))
    lab.store.stale.add("old")
    outcome = lab.app.report(envelope, fate(envelope.id, OutcomeKind.LOST)).run()
    assert (outcome.fenced, outcome.stored) == (True, False)


@pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.IGNORED, OutcomeKind.RETRIED])
def test_what_only_the_task_could_store_cannot_be_reported(lab: Lab, kind: OutcomeKind) -> None:
    lab.task(add).delay(1)
    envelope = lab.envelope()
    with pytest.raises(KernelBug, match="nothing to store"):
        lab.app.report(envelope, fate(envelope.id, kind))


def test_a_job_survives_the_way_to_another_process(lab: Lab) -> None:
    result = lab.task(add).apply_async([2], {"y": 5}, compression="bzip2", headers={"k": "v"}, soft_time_limit=3)
    copy = lab.app.job_from_frame(lab.job().to_frame())
    assert (copy.id, copy.task, copy.soft_time_limit, copy.is_report) == (result.id, result_task(lab), 3.0, False)
    assert copy.run().result == "7"


def result_task(lab: Lab) -> str:
    return next(iter(lab.app.tasks()))


def test_a_report_survives_the_way_to_another_process(lab: Lab) -> None:
    lab.task(add).delay(1)
    envelope = lab.envelope()
    outcome = fate(envelope.id, OutcomeKind.LOST, failure=Failure.of(WorkerLostError("signal 9", 9)), runtime=1.5)
    copy = lab.app.job_from_frame(lab.app.report(envelope, outcome).to_frame())
    assert copy.is_report
    assert copy.run() == attrs.evolve(outcome, stored=True)


@pytest.mark.parametrize(
    "frame", [b"", b"\0\0\0\5{", b"\0\0\0\2{}", b"\xff" * 30, b"\0\0\0\x15" + b'{"envelope":1,"text":0}']
)
def test_what_is_no_frame_is_a_bug_of_ours(frame: bytes) -> None:
    with pytest.raises(KernelBug, match="cannot be read"):
        frames.unpack(frame)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
moments = st.none() | st.datetimes(timezones=st.just(UTC))


@given(
    body=st.binary() | st.text(),
    headers=st.dictionaries(st.text().filter(lambda key: key != "__type__"), plain, max_size=4),
    eta=moments,
    attempts=st.integers(0, 5),
    fence=st.none() | st.builds(Fence, authority=st.text(), token=st.text()),
)
def test_frames_are_read_as_they_were_written(
    body: bytes | str, headers: dict[str, Any], eta: datetime | None, attempts: int, fence: Fence | None
) -> None:
    envelope = Envelope(
        id="i",
        task="t",
        queue="q",
        headers=headers,
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        properties={"priority": 3},
        delivery_info={"exchange": ""},
        eta=eta,
        attempts=attempts,
        fence=fence,
    )
    assert frames.unpack(frames.pack(envelope)) == (envelope, None)


@given(
    body=st.binary(),
    encoding=st.sampled_from(["base64", "utf-8", None]),
    headers=st.dictionaries(st.text(), plain, max_size=4),
    attempts=st.integers(0, 5),
    fence=st.none() | st.builds(Fence, authority=st.text(), token=st.text()),
)
def test_a_message_that_came_as_one_text_crosses_as_that_text_and_says_the_same_there(
    body: bytes, encoding: str | None, headers: dict[str, Any], attempts: int, fence: Fence | None
) -> None:
    told = b64encode(body).decode() if encoding == "base64" else body.hex()
    message = {
        "body": told,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {**headers, "task": "t", "id": "i", "lang": "py", "retries": 2, "eta": "2030-01-01T00:00:00"},
        "properties": {"body_encoding": encoding, "delivery_info": {"exchange": "e"}, "delivery_tag": "theirs"},
    }
    text = kombu_json.dumps(message).encode()
    berlin = timezone(timedelta(hours=1))
    try:
        envelope = parse(Delivered(read_wire(text, queue="q", tag="ours", attempts=attempts, fence=fence)), berlin)
    except MessageInvalid:
        reject()  # a header has a name that means something, and a value that does not
    frame = frames.pack(attrs.evolve(envelope, fence=None))
    assert text in frame
    copy, _ = frames.unpack(frame, berlin)
    assert copy == attrs.evolve(envelope, fence=None)
    assert copy.properties["delivery_tag"] == "ours"
    assert copy.body == (body if encoding == "base64" else told.encode())


def test_a_header_that_is_no_data_stands_as_its_repr() -> None:
    envelope = Envelope(
        id="i", task="t", queue="q", headers={"odd": Path, "tagged": {"__type__": "bogus", "__value__": 1}}, body=b"",
        content_type="a", content_encoding="b", properties={}, delivery_info={},
    )  # fmt: skip
    copy, _ = frames.unpack(frames.pack(envelope))
    assert copy.headers == {"odd": repr(Path), "tagged": {"__type__": "bogus", "__value__": 1}}
