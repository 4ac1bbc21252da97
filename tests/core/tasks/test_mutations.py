"""A fuzzer: sound messages, damaged at random, go from the broker's message to the end of the job; nothing escapes."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from worker_kernel import MessageInvalid, Outcome, OutcomeKind, TaskOptions

CALL = {
    "task": "add",
    "args": [1],
    "kwargs": {},
    "options": {"task_id": "next"},
    "subtask_type": None,
    "immutable": False,
}
GROUP = {"task": "celery.group", "kwargs": {"tasks": [CALL, CALL]}, "options": {}, "subtask_type": "group"}
CHORD = {"task": "celery.chord", "kwargs": {"header": GROUP, "body": CALL}, "options": {}, "subtask_type": "chord"}
CHAIN = {"task": "celery.chain", "kwargs": {"tasks": [CALL, GROUP, CALL]}, "options": {}, "subtask_type": "chain"}
HEADERS = {
    "lang": "py", "task": "add", "id": "an-id", "shadow": None, "eta": "2030-01-01T00:00:00", "expires": "2031-01-01",
    "group": "a-group", "group_index": 0, "retries": 1, "timelimit": [10, 5], "root_id": "r", "parent_id": "p",
    "ignore_result": False, "stamped_headers": ["x"], "stamps": {"x": 1}, "compression": None,
}  # fmt: skip
BODIES: list[Any] = [
    [[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
    [[1], {"y": 2}, {"callbacks": [CALL, GROUP], "errbacks": [CALL], "chain": [CALL, CHORD], "chord": CALL}],
    [[1, 2], {}, {"callbacks": [CHAIN, CHORD], "errbacks": None, "chain": [GROUP], "chord": None}],
    {"task": "add", "id": "an-id", "args": [1, 2], "kwargs": {}, "callbacks": [CALL], "retries": 0, "utc": True},
]
POISON: list[Any] = [
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 2**63, 10**400, "", "x", "\x00", "\ud800", "é" * 2000,
    [], {}, [[]], {"": {}}, {"__type__": "datetime", "__value__": "x"}, {"__type__": [], "__value__": {}}, b"\xff",
]  # fmt: skip


@attrs.define(kw_only=True)
class Damaged:
    """A message as a transport delivers it."""

    raw_body: Any
    headers: Any
    properties: Any = attrs.field(factory=dict)
    delivery_info: Any = attrs.field(factory=lambda: {"exchange": "", "routing_key": "q"})
    content_type: Any = "application/json"
    content_encoding: Any = "utf-8"
    errors: Any = ()

    @property
    def body(self) -> Any:
        return self.raw_body


def places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every container of a structure, with every key in it, as deep as its parts are damaged."""
    if depth > 20:
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key], depth + 1))]


def damage(chance: random.Random, value: Any) -> None:
    """Replace, remove, double or exchange something in a structure."""
    where = places(value)
    if not where:
        return
    container, key = chance.choice(where)
    other, others_key = chance.choice(where)
    match chance.randrange(4):
        case 0:
            container[key] = copy.deepcopy(chance.choice(POISON))  # or the next mutant finds it damaged
        case 1:
            container[key] = copy.deepcopy(other[others_key])
        case 2:
            del container[key]
        case _:
            deep: Any = container[key]
            for _ in range(chance.choice((1, 3, 150, 300))):
                deep = [deep]
            container[key] = deep


def mutant(chance: random.Random) -> Damaged:
    """A sound message with one to four things wrong with it."""
    content = json.loads(json.dumps({"headers": HEADERS, "body": chance.choice(BODIES)}))
    if isinstance(content["body"], dict):
        content["headers"] = {}
    with contextlib.suppress(RecursionError):  # too deep to be copied: damaged enough
        for _ in range(chance.randint(1, 4)):
            damage(chance, content)
    try:
        body = json.dumps(content.get("body")).encode("utf-8", "surrogatepass")
    except RecursionError:
        body = b"[" * 2_000
    except (TypeError, ValueError):
        body = repr(content.get("body"))[:10_000].encode("utf-8", "replace")
    raw = bytearray(body)
    if chance.random() < 0.02:
        raw[chance.randrange(len(raw) or 1) :] = chance.choice((b"[", b'{"":', b"[[")) * 20_000
    if chance.random() < 0.3:
        for _ in range(chance.randint(1, 5)):
            raw[chance.randrange(len(raw) or 1) : chance.randrange(len(raw) + 1)] = chance.randbytes(
                chance.randrange(4)
            )
    message = Damaged(raw_body=bytes(raw), headers=content.get("headers"))
    if chance.random() < 0.2:
        name = chance.choice([field.name for field in attrs.fields(Damaged)])
        setattr(message, name, chance.choice([*POISON, "application/x-python-serialize", "application/data", "gzip"]))
    return message


def run_one(lab: Any, message: Damaged) -> OutcomeKind | None:
    """From the broker's message to the end of its job; None where it is told to be invalid."""
    invalid: MessageInvalid | None = None
    try:
        envelope = lab.app.parse(message)
    except MessageInvalid as exc:
        invalid = exc
    if invalid is not None:
        assert invalid.reason
        if (salvaged := invalid.salvaged) is not None:
            told = Outcome(job_id=salvaged.id, kind=OutcomeKind.FAILED)
            assert lab.app.report(salvaged, told).run().job_id == salvaged.id
        return None
    options = lab.app.tasks().get(envelope.task, TaskOptions(name=envelope.task))
    job = lab.app.job(envelope, options)
    outcome: Outcome = job.run()
    assert outcome.job_id == envelope.id
    assert outcome.stored, ascii(outcome)  # else it was an INTERNAL ERROR: store and broker serve
    if outcome.kind is OutcomeKind.FAILED:
        assert outcome.failure is not None
        assert outcome.failure.type not in ("KernelBug", "AttributeError", "KeyError", "IndexError"), ascii(
            outcome.failure
        )
    if outcome.stored and not lab.app.ignores_result(envelope):
        json.dumps(lab.store.metas[envelope.id])
    return outcome.kind


def fuzz(make_lab: Callable[..., Any], seed: int, seconds: float) -> int:
    lab = make_lab()
    lab.task(lambda x, y=1: x + y, name="add")
    deadline, count = time.monotonic() + seconds, 0
    kinds = set()
    while time.monotonic() < deadline:
        one = seed * 10_000_000 + count
        message = mutant(random.Random(one))
        try:
            kinds.add(run_one(lab, message))
        except Exception as exc:
            raise AssertionError(f"mutant {one} made {exc!a} escape: {message!a:.2000}") from exc
        count += 1
    assert {None, OutcomeKind.SUCCEEDED, OutcomeKind.FAILED} <= kinds, kinds
    return count


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Half a surrogate pair in a captured line is more than pytest-xdist can carry."""
    with caplog.at_level(logging.CRITICAL + 1, "worker_kernel.tasks"):
        yield


def test_no_damage_makes_anything_escape(make_lab: Callable[..., Any]) -> None:
    assert fuzz(make_lab, 1, 5) > 100


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(2, 6))
def test_no_damage_makes_anything_escape_in_the_long_form(make_lab: Callable[..., Any], seed: int) -> None:
    assert fuzz(make_lab, seed, 60) > 1000


@pytest.mark.parametrize("seed", range(20))
def test_a_mutant_is_the_same_for_the_same_seed(seed: int) -> None:
    assert repr(mutant(random.Random(seed))) == repr(mutant(random.Random(seed)))
