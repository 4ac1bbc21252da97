"""Chords: parts are counted under Celery's keys, so that Celery's workers and ours may bring parts of one chord.

``celery-taskset-meta-<group id>`` with a suffix: ``.s`` how many parts there are, ``.t`` how many came on top, ``.j``
the parts, ordered by their place (a list where Celery was told not to order them), ``.d`` who has brought one, ``.c``
who may send the body, or ``done``. The key without a suffix holds the shape of nested results, where there is one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from worker_kernel import ChordPart, JoinedChord

from .scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[Script, list[str], list[Any]], Any]

PREFIX = "celery-taskset-meta-"
CLAIM = 60
"""Seconds for which one worker has the right to send a body."""
DONE = 300
"""Seconds for which it is remembered that a body was sent."""

PART = Script("""
-- Keep a part, once; return all parts, and the shape, to the one who may send the body.
-- KEYS: parts, added, size, bringers, claim, group
-- ARGV: bringer, part, place, seconds they last (0: for ever), seconds of the claim
-- The bringer is the claim: a redelivery of the part whose worker died with the claim has it at once.
if redis.call('GET', KEYS[5]) == 'done' then
  return false
end
local listed = redis.call('TYPE', KEYS[1])['ok'] == 'list'
if redis.call('SADD', KEYS[4], ARGV[1]) == 1 then
  if listed then
    redis.call('RPUSH', KEYS[1], ARGV[2])
  else
    redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
  end
end
if tonumber(ARGV[4]) > 0 then
  for position = 1, 4 do
    redis.call('EXPIRE', KEYS[position], ARGV[4])
  end
  redis.call('EXPIRE', KEYS[6], ARGV[4])
end
local size, added = redis.call('GET', KEYS[3]), redis.call('GET', KEYS[2])
local here = listed and redis.call('LLEN', KEYS[1]) or redis.call('ZCARD', KEYS[1])
if not size or here ~= tonumber(size) + tonumber(added or 0) then
  return false
end
if redis.call('GET', KEYS[5]) ~= ARGV[1] and not redis.call('SET', KEYS[5], ARGV[1], 'NX', 'EX', ARGV[5]) then
  return false
end
local parts = listed and redis.call('LRANGE', KEYS[1], 0, -1) or redis.call('ZRANGE', KEYS[1], 0, -1)
return {parts, redis.call('GET', KEYS[6])}
""")

SENT = Script("""
-- Forget a chord whose body was sent by whoever holds the claim, and remember that it was.
-- KEYS: parts, added, size, bringers, claim, group   ARGV: claim, seconds that it is remembered
if redis.call('GET', KEYS[5]) == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  redis.call('SET', KEYS[5], 'done', 'EX', ARGV[2])
end
""")


def keys(group_id: str) -> list[str]:
    """The keys of a chord, in the order in which the scripts take them."""
    return [f"{PREFIX}{group_id}{suffix}" for suffix in (".j", ".t", ".s", ".d", ".c", "")]


def begin(client: Any, group_id: str, size: int, expires: int | None) -> None:
    """Say how many parts there are; a chord of that id that was sent before is forgotten."""
    _, _, size_key, _, claim, _ = keys(group_id)
    with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(claim)
        pipeline.set(size_key, size, ex=expires)
        pipeline.execute()


def bring(run: Run, part: ChordPart, expires: int | None) -> JoinedChord | None:
    """Keep a part; see `ResultStore.chord_part`.

    Raises:
        ValueError: somebody else has stored what is no part.
    """
    place = "+inf" if part.index < 0 else str(part.index)
    bringer = f"{part.task_id}:{place}"
    value = json.dumps([1, part.task_id, part.status, part.result])
    said = run(PART, keys(part.group_id), [bringer, value, place, expires or 0, CLAIM])
    if said is None:
        return None
    parts, shape = said
    return JoinedChord(
        group_id=part.group_id,
        claim=bringer,
        parts=tuple(_part(part.group_id, index, raw) for index, raw in enumerate(parts)),
        shape=None if shape is None else json.loads(shape)["result"],
    )


def sent(run: Run, joined: JoinedChord) -> None:
    """Forget a chord whose body was sent."""
    run(SENT, keys(joined.group_id), [joined.claim, DONE])


def _part(group_id: str, index: int, raw: bytes) -> ChordPart:
    _, task_id, status, result = json.loads(raw)
    return ChordPart(group_id=group_id, index=index, task_id=task_id, status=status, result=result)
