"""The operations on messages, under a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from worker_broker_sqlite.database import Database
from worker_broker_sqlite.queues import PROMOTE, RECLAIM, TAKE, Counts, Queues, is_held


def put(queues: Queues, *bodies: str, **options: Any) -> None:
    for body in bodies:
        queues.put("q", "{}", body, **options)


def take(queues: Queues, limit: int = 100, *names: str) -> list[Any]:
    return list(queues.fetch(names or ["q"], limit).deliveries)


def bodies(deliveries: list[Any]) -> list[str]:
    return [delivery.body for delivery in deliveries]


def test_messages_come_in_the_order_they_were_sent(queues: Queues) -> None:
    put(queues, "a", "b", "c")
    assert bodies(take(queues)) == ["a", "b", "c"]


def test_more_urgent_messages_come_first(queues: Queues) -> None:
    put(queues, "low")
    put(queues, "high", "high too", priority=9)
    put(queues, "middle", priority=5)
    assert bodies(take(queues)) == ["high", "high too", "middle", "low"]


def test_a_priority_beyond_the_scale_is_taken_for_its_end(queues: Queues) -> None:
    put(queues, "least", priority=-3)
    put(queues, "most", priority=99)
    assert bodies(take(queues)) == ["most", "least"]


def test_a_fetch_takes_no_more_than_its_limit_and_says_that_there_may_be_more(queues: Queues) -> None:
    put(queues, "a", "b", "c")
    assert queues.fetch(["q"], 2).more
    assert not queues.fetch(["q"], 2).more


def test_the_first_of_several_queues_comes_first(queues: Queues) -> None:
    queues.put("one", "{}", "1")
    queues.put("two", "{}", "2")
    assert bodies(take(queues, 2, "two", "one")) == ["2", "1"]


def test_a_held_message_is_delivered_to_nobody_else(queues: Queues) -> None:
    put(queues, "a")
    assert take(queues)
    assert take(queues) == []


def test_the_body_is_kept_as_text_or_bytes(queues: Queues) -> None:
    for body in ("text", b"\x00bytes", None):
        queues.put("q", "{}", body)
    assert bodies(take(queues)) == ["text", b"\x00bytes", None]


def test_a_message_comes_back_when_its_lease_has_run_out(queues: Queues, clock: Any) -> None:
    put(queues, "a", "b")
    (first, _) = take(queues)
    clock.time += 29.9
    assert take(queues) == []
    clock.time += 0.1
    again = take(queues)
    assert bodies(again) == ["a", "b"]
    assert again[0].id == first.id
    assert again[0].tag != first.tag
    assert again[0].redelivered
    assert not first.redelivered


def test_a_renewed_lease_counts_from_the_renewal(queues: Queues, clock: Any) -> None:
    put(queues, "a")
    (held,) = take(queues)
    clock.time += 29
    assert queues.renew([held.tag]) == frozenset()
    clock.time += 29
    assert take(queues) == []


def test_attempts_count_the_earlier_starts_that_never_settled(queues: Queues, clock: Any) -> None:
    put(queues, "a")
    seen = []
    for _ in range(3):
        seen.append(take(queues)[0].attempts)
        clock.time += 31
    assert seen == [0, 1, 2]


def test_a_hand_back_is_no_attempt_and_keeps_the_place(queues: Queues) -> None:
    put(queues, "a", "b")
    (first,) = take(queues, 1)
    assert queues.hand_back([first.tag]) == frozenset()
    again = take(queues)
    assert bodies(again) == ["a", "b"]
    assert (again[0].attempts, again[0].redelivered) == (0, True)
    assert (again[1].attempts, again[1].redelivered) == (0, False)


def test_a_parked_message_is_invisible_for_its_time_and_is_no_attempt(queues: Queues, clock: Any) -> None:
    put(queues, "a", "b")
    (first,) = take(queues, 1)
    assert queues.park(first.tag, 60)
    batch = queues.fetch(["q"], 10)
    assert [d.body for d in batch.deliveries] == ["b"]
    queues.settle([d.tag for d in batch.deliveries])
    assert queues.next_due(["q"]) == clock.time + 60
    clock.time += 60
    (again,) = take(queues)
    assert (again.body, again.attempts) == ("a", 0)


def test_a_message_that_is_not_due_yet_is_held_by_the_broker(queues: Queues, clock: Any) -> None:
    put(queues, "later", due=clock.time + 10)
    put(queues, "now", due=clock.time - 10)
    batch = queues.fetch(["q"], 10)
    assert [d.body for d in batch.deliveries] == ["now"]
    assert batch.next_due == clock.time + 10
    clock.time += 10
    assert bodies(take(queues)) == ["later"]


def test_the_next_moment_is_the_end_of_a_lease_when_nothing_is_waiting(queues: Queues, clock: Any) -> None:
    assert queues.fetch(["q"], 1).next_due is None
    put(queues, "a")
    assert queues.fetch(["q"], 2).next_due == clock.time + 30


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan")])
def test_parking_for_no_time_is_a_hand_back(queues: Queues, seconds: float) -> None:
    put(queues, "a")
    assert queues.park(take(queues)[0].tag, seconds)
    assert bodies(take(queues)) == ["a"]


@pytest.mark.parametrize("late", ["settle", "hand_back", "renew"])
def test_a_late_holder_is_refused_and_changes_nothing(queues: Queues, clock: Any, late: str) -> None:
    put(queues, "a")
    (first,) = take(queues)
    clock.time += 31
    (second,) = take(queues)
    assert getattr(queues, late)([first.tag]) == {first.tag}
    assert is_held(queues.database, second.tag)
    assert queues.counts("q") == Counts(ready=0, waiting=0, held=1)


def test_a_late_holder_can_neither_park_nor_move(queues: Queues, clock: Any) -> None:
    put(queues, "a")
    (first,) = take(queues)
    clock.time += 31
    (second,) = take(queues)
    assert not queues.park(first.tag, 1)
    assert not queues.move(first.tag, "elsewhere", "{}")
    assert is_held(queues.database, second.tag)
    assert not queues.exists("elsewhere")


def test_settling_removes_the_message_and_its_content(queues: Queues, database: Database) -> None:
    put(queues, "a", "b")
    (first, second) = take(queues)
    assert queues.settle([first.tag]) == frozenset()
    assert is_held(database, second.tag)
    assert database.execute("SELECT body FROM contents") == [("b",)]


def test_a_moved_message_is_ready_in_the_other_queue_without_attempts(queues: Queues) -> None:
    put(queues, "a")
    (held,) = take(queues)
    assert queues.move(held.tag, "q.quarantine", '{"new": 1}')
    (moved,) = take(queues, 1, "q.quarantine")
    assert (moved.id, moved.head, moved.body, moved.attempts) == (held.id, '{"new": 1}', "a", 0)
    assert take(queues) == []


def test_purge_removes_what_is_in_nobodys_hands_and_counts_it(queues: Queues, clock: Any, database: Database) -> None:
    put(queues, "held")
    (held,) = take(queues)
    put(queues, "ready")
    put(queues, "waiting", due=clock.time + 10)
    assert queues.size("q") == 2
    assert queues.purge("q") == 2
    assert queues.counts("q") == Counts(ready=0, waiting=0, held=1)
    assert database.execute("SELECT id FROM contents") == [(held.id,)]


def test_purge_takes_the_messages_of_dead_holders_too(queues: Queues, clock: Any) -> None:
    put(queues, "a")
    take(queues)
    clock.time += 31
    assert queues.size("q") == 1
    assert queues.purge("q") == 1


def test_counts_tell_the_states_apart(queues: Queues, clock: Any) -> None:
    put(queues, "a", "b", "c")
    put(queues, "later", due=clock.time + 100)
    put(queues, "soon", due=clock.time + 10)
    take(queues, 1)
    assert queues.counts("q") == Counts(ready=2, waiting=2, held=1)
    clock.time += 31
    assert queues.counts("q") == Counts(ready=4, waiting=1, held=0)


def test_a_deleted_queue_is_gone_but_for_what_is_held(queues: Queues) -> None:
    put(queues, "held", "ready")
    (held,) = take(queues, 1)
    queues.delete("q")
    assert not queues.exists("q")
    assert queues.settle([held.tag]) == frozenset()
    assert take(queues) == []


def test_a_rolled_back_transaction_leaves_no_trace(queues: Queues, database: Database) -> None:
    def fail() -> None:
        with database.transaction():
            put(queues, "a")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert take(queues) == []


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [(PROMOTE, ("q", 1.0)), (RECLAIM, ("q", 1.0)), (TAKE, ("p", 1.0, "q", 1))],
)
def test_a_fetch_neither_scans_nor_sorts(database: Database, statement: str, parameters: tuple[object, ...]) -> None:
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN messages")]
    assert any("USING" in step and "INDEX messages_" in step for step in plan)
