"""What goes through the pipe comes out as it went in, however the stream is cut, and what is damaged is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import Failure, KernelBug, Outcome, OutcomeKind
from worker_pool_prefork.frames import (
    HEADER,
    LARGEST,
    FrameKind,
    FrameReader,
    Word,
    jobs_frame,
    news_frame,
    outcome_from_news,
    outcome_to_news,
    read_jobs,
    read_news,
)

JOBS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NEWS = st.lists(
    st.tuples(st.sampled_from(Word), st.lists(PLAIN, max_size=4)).map(lambda told: [str(told[0]), *told[1]]),
    max_size=5,
)
FAILURES = st.none() | st.builds(
    Failure, type=st.text(), module=st.text(), args=st.lists(PLAIN, max_size=3).map(tuple), traceback=st.text()
)
OUTCOMES = st.builds(
    Outcome,
    job_id=st.just("id"),
    kind=st.sampled_from(OutcomeKind),
    stored=st.booleans(),
    failure=FAILURES,
    requeue=st.booleans(),
    runtime=st.integers(0, 10**9).map(lambda micros: micros / 10**6),
    result=st.text(),
    invalid=st.booleans(),
    expected=st.booleans(),
    fenced=st.booleans(),
)


@given(sent=st.lists(JOBS | NEWS, max_size=6), data=st.data())
def test_jobs_and_news_come_out_as_they_went_in_however_the_stream_is_cut(sent: list[Any], data: st.DataObject) -> None:
    stream = b"".join(jobs_frame(one) if one and isinstance(one[0], tuple) else news_frame(one) for one in sent if one)
    reader, got, position = FrameReader(), [], 0
    while position < len(stream):
        length = data.draw(st.integers(1, min(64, len(stream) - position)))
        got += reader.feed(stream[position : position + length])
        position += length
    come = [list(read_jobs(payload)) if kind == FrameKind.JOBS else read_news(payload) for kind, payload in got]
    assert come == [one for one in sent if one]


@given(frames=st.lists(st.binary(max_size=4000), min_size=1, max_size=4), piece=st.integers(1, 5000))
def test_a_frame_longer_than_what_is_read_at_once_is_put_together(frames: list[bytes], piece: int) -> None:
    stream = b"".join(jobs_frame([(7, data)]) for data in frames)
    reader = FrameReader()
    got = [one for start in range(0, len(stream), piece) for one in reader.feed(stream[start : start + piece])]
    assert [list(read_jobs(payload)) for _, payload in got] == [[(7, data)] for data in frames]


@given(outcome=OUTCOMES)
def test_an_outcome_comes_out_as_it_went_in(outcome: Outcome) -> None:
    assert outcome_from_news("id", json.loads(json.dumps(outcome_to_news(outcome)))) == outcome


def test_the_usual_outcome_is_short() -> None:
    assert outcome_to_news(Outcome(job_id="id", kind=OutcomeKind.SUCCEEDED, stored=True)) == ["succeeded", True, 0, ""]


@given(length=st.integers(LARGEST + 1, 2**32 - 1))
def test_a_frame_that_claims_to_be_larger_than_any_is_refused(length: int) -> None:
    with pytest.raises(KernelBug, match=str(length)):
        FrameReader().feed(HEADER.pack(length, FrameKind.NEWS))


@given(kind=st.integers(0, 255).filter(lambda kind: kind not in set(FrameKind)))
def test_a_frame_of_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(KernelBug, match=f"kind {kind}"):
        FrameReader().feed(HEADER.pack(0, kind))


@pytest.mark.parametrize("payload", [b"", b"[", b"{}", b"[1]", b"[[]]", b"\xff", b'"news"'])
def test_news_that_are_no_list_of_lists_are_refused(payload: bytes) -> None:
    with pytest.raises(KernelBug, match="news"):
        read_news(payload)


@given(jobs=JOBS.filter(bool), data=st.data())
def test_jobs_that_end_too_early_are_refused(jobs: list[tuple[int, bytes]], data: st.DataObject) -> None:
    payload = jobs_frame(jobs)[HEADER.size :]
    whole = {0}
    for _, job in jobs:
        whole.add(max(whole) + 12 + len(job))
    cut = data.draw(st.integers(1, len(payload) - 1).filter(lambda length: length not in whole))
    with pytest.raises(KernelBug, match="jobs"):
        list(read_jobs(payload[:cut]))
