"""Reading what somebody else wrote: by its headers only, and never with another error than MessageInvalid."""

from __future__ import annotations

import bz2
import contextlib
import json
import lzma
import math
import zlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker_kernel import Envelope, Fence, MessageInvalid
from worker_kernel.tasks.body import decode, inflate
from worker_kernel.tasks.envelope import V1_LIMIT, parse

JSON = frozenset({"application/json"})


@attrs.define(kw_only=True)
class Delivered:
    """A message as a transport of ours delivers it: the body as it was sent."""

    raw_body: Any = b"[[], {}, null]"
    headers: Any = attrs.field(factory=lambda: {"id": "i", "task": "t"})
    properties: Any = attrs.field(factory=dict)
    delivery_info: Any = attrs.field(factory=lambda: {"exchange": "", "routing_key": "q"})
    content_type: Any = "application/json"
    content_encoding: Any = "utf-8"
    errors: Any = ()
    attempts: Any = None
    fence: Any = None
    queue: Any = None

    @property
    def body(self) -> Any:
        raise AssertionError("the body is not to be decompressed here")


def headers(**more: Any) -> dict[str, Any]:
    return {"id": "i", "task": "t", **more}


def test_a_body_is_neither_decoded_nor_decompressed() -> None:
    bomb = zlib.compress(b"x" * 10_000_000)
    envelope = parse(Delivered(raw_body=bomb, headers=headers(compression="application/x-gzip")))
    assert envelope.body == bomb


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"task": "t"}, "no id"),
        ({"id": "i", "task": None}, "no task"),
        (headers(id=""), "printable"),
        (headers(id=7), "printable"),
        (headers(id="two\nlines"), "printable"),
        (headers(id="\ud800"), "printable"),
        (headers(id="x" * 513), "printable"),
        (headers(task=["t"]), "printable"),
        (headers(eta="soon"), "eta"),
        (headers(eta=5), "eta"),
        (headers(eta="0001-01-01T00:00:00+23:00"), "eta"),
        (headers(expires="9999-12-31T23:59:59-23:00"), "expires"),
        (headers(expires={}), "expires"),
        (headers(retries=-1), "retries"),
        (headers(retries="3"), "retries"),
        (headers(retries=True), "retries"),
        (headers(retries=2**31), "retries"),
        (headers(timelimit=5), "timelimit"),
        (headers(timelimit=[1]), "timelimit"),
        (headers(timelimit=[1, 2, 3]), "timelimit"),
        (headers(timelimit=[-1, None]), "timelimit"),
        (headers(timelimit=[math.nan, None]), "timelimit"),
        (headers(timelimit=[math.inf, None]), "timelimit"),
        (headers(timelimit=["5", None]), "timelimit"),
        (headers(timelimit=[None, True]), "timelimit"),
        ([1, 2], "headers"),
    ],
)
def test_bad_headers_are_told_one_by_one(found: Any, reason: str) -> None:
    with pytest.raises(MessageInvalid, match=reason):
        parse(Delivered(headers=found))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"content_type": 5}, "content type"),
        ({"content_encoding": [1]}, "content encoding"),
        ({"properties": 5}, "properties"),
        ({"delivery_info": "x"}, "delivery info"),
        ({"raw_body": 5}, "body"),
        ({"queue": 5}, "queue"),
        ({"attempts": -1}, "attempts"),
    ],
)
def test_bad_parts_are_told(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageInvalid, match=reason):
        parse(Delivered(**parts))


def test_times_are_aware_and_in_utc() -> None:
    found = parse(Delivered(headers=headers(eta="2030-01-01T12:00:00", expires="2030-01-01T12:00:00+02:00")))
    assert (found.eta, found.expires) == (datetime(2030, 1, 1, 12, tzinfo=UTC), datetime(2030, 1, 1, 10, tzinfo=UTC))
    berlin = timezone(timedelta(hours=1))
    found = parse(Delivered(headers=headers(eta="2030-01-01T12:00:00")), berlin)
    assert found.eta == datetime(2030, 1, 1, 11, tzinfo=UTC)


def test_limits_are_hard_then_soft_and_zero_is_none() -> None:
    found = parse(Delivered(headers=headers(timelimit=[9, 5.5])))
    assert (found.time_limit, found.soft_time_limit) == (9.0, 5.5)
    found = parse(Delivered(headers=headers(timelimit=[0, 0])))
    assert (found.time_limit, found.soft_time_limit) == (None, None)


def test_what_the_transport_knows_is_taken_over() -> None:
    fence = Fence(authority="a", token="b")
    found = parse(Delivered(attempts=2, fence=fence, queue="other", delivery_info={"redelivered": True}))
    assert (found.attempts, found.fence, found.queue, found.redelivered) == (2, fence, "other", True)
    assert found.delivery_info["redelivered"] is True
    assert parse(Delivered(headers=headers(**{"x-kernel-attempts": 3}))).attempts == 3
    assert parse(Delivered(headers=headers(**{"x-delivery-count": 1}))).attempts == 0  # counts more than starts


# -- version 1 ---------------------------------------------------------------------------------------------------------


def version_1(**more: Any) -> bytes:
    return json.dumps({"task": "t", "id": "i", "args": [1], "kwargs": {"k": 2}, **more}).encode()


def test_a_version_1_message_becomes_one_of_version_2() -> None:
    callback = {"task": "c", "args": []}
    raw = version_1(retries=2, timelimit=[9, 5], eta="2030-01-01T00:00:00", utc=True, callbacks=[callback])
    found = parse(Delivered(headers={"mine": 1}, raw_body=raw))
    assert (found.id, found.task, found.retries, found.time_limit, found.soft_time_limit) == ("i", "t", 2, 9.0, 5.0)
    assert found.headers["mine"] == 1
    body = decode(found, JSON)
    assert (body.args, body.kwargs, body.embed["callbacks"]) == ((1,), {"k": 2}, [callback])


def test_a_compressed_version_1_message_is_inflated_up_to_the_limit() -> None:
    compressed = {"compression": "application/x-gzip"}
    assert parse(Delivered(headers=compressed, raw_body=zlib.compress(version_1()))).id == "i"
    with pytest.raises(MessageInvalid, match="inflates to more than"):
        parse(Delivered(headers=compressed, raw_body=zlib.compress(version_1(args=["x" * V1_LIMIT]))))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[1]", "names no task"),
        (b"{}", "names no task"),
        (version_1(args=5), "args are no list"),
        (version_1(kwargs=[1]), "args are no list"),
        (version_1(id=None), "no id"),
        (version_1(eta="x", utc=False), "parts are not those"),
        (b'{"task": "t", "id": {"__type__": "datetime", "__value__": 5}}', "parts are not those"),
        (version_1(args=["x" * V1_LIMIT]), "above the limit"),
    ],
)
def test_bad_version_1_messages_are_told(raw: bytes, reason: str) -> None:
    with pytest.raises(MessageInvalid, match=reason):
        parse(Delivered(headers={}, raw_body=raw))


def test_only_json_is_read_without_a_task_header() -> None:
    with pytest.raises(MessageInvalid, match="only JSON"):
        parse(Delivered(headers={}, content_type="application/x-python-serialize"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)
known = st.sampled_from(
    ["id", "task", "eta", "expires", "retries", "timelimit", "compression", "x-kernel-attempts", "redelivered"]
)
texts = st.sampled_from(["application/json", "text/json", "utf-8", "application/x-gzip", "binary", "no-such"])


parts = ("properties", "delivery_info", "content_type", "content_encoding", "errors", "attempts", "fence", "queue")
some_headers = st.dictionaries(known, anything | texts)


@given(
    found=anything | some_headers | some_headers.map(lambda given: {**headers(), **given}),
    raw=anything | st.binary() | anything.map(lambda value: repr(value).encode("utf-8", "replace")),
    rest=st.fixed_dictionaries({}, optional=dict.fromkeys(parts, anything | texts)),
)
@example(found=headers(), raw=b"", rest={})
def test_whatever_a_message_holds_it_is_an_envelope_or_invalid(found: Any, raw: Any, rest: dict[str, Any]) -> None:
    with contextlib.suppress(MessageInvalid):
        envelope = parse(Delivered(headers=found, raw_body=raw, **rest))
        assert envelope.id.isprintable()
        assert envelope.task.isprintable()
        for moment in (envelope.eta, envelope.expires):
            assert moment is None or moment.utcoffset() == timedelta(0)
        decode(envelope, JSON)


# -- bodies ------------------------------------------------------------------------------------------------------------


def envelope(body: bytes | str, **more: Any) -> Envelope:
    return attrs.evolve(parse(Delivered()), body=body, **more)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not \\[args"),
        (b"[]", "a list of 0"),
        (b"[[], {}]", "a list of 2"),
        (b"[[], {}, {}, 1]", "a list of 4"),
        (b'{"args": []}', "a dict of 1"),
        (b'["ab", {}, null]', "args in the body"),
        (b"[[], [], null]", "kwargs in the body"),
        (b"[[], {}, 5]", "embed in the body"),
        (b"\xff", "cannot be decoded"),
        (b"[" * 200_000, "cannot be decoded"),
        (b'[[{"__type__": "bogus", "__value__": 1}], {}, null]', "cannot be decoded"),
    ],
)
def test_bad_bodies_are_told(body: bytes, reason: str) -> None:
    with pytest.raises(MessageInvalid, match=reason):
        decode(envelope(body), JSON)


def test_a_content_type_that_is_not_allowed_is_not_decoded() -> None:
    with pytest.raises(MessageInvalid, match="application/x-python-serialize"):
        decode(envelope(b"cos\nsystem\n.", content_type="application/x-python-serialize"), JSON)


@pytest.mark.parametrize(
    ("compression", "compress"),
    [("application/x-gzip", zlib.compress), ("gzip", zlib.compress), ("bzip2", bz2.compress), ("lzma", lzma.compress)],
)
def test_a_bomb_is_not_inflated_beyond_the_limit(compression: str, compress: Any) -> None:
    assert inflate(compress(b"x" * 1000), compression, limit=1000) == b"x" * 1000
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        inflate(compress(b"x" * 1001), compression, limit=1000)
    with pytest.raises(ValueError, match="too early"):
        inflate(compress(b"some words that take some room")[:-6], compression)
    with pytest.raises(ValueError, match="damaged"):
        inflate(b"this is not compressed at all", compression)
    with pytest.raises(ValueError, match="not supported"):
        inflate(b"", "application/zstd")
