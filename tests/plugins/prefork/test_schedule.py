"""Which child gets which job, how many at a time, and what is asked back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.prefork.small_application import SmallJob
from tests.plugins.prefork.stand_ins import Play, play

from worker_kernel.batches import BATCH, LARGEST_BATCH, SMALL, WORTH
from worker_pool_prefork.entry import Entry
from worker_pool_prefork.frames import Word
from worker_pool_prefork.schedule import PATIENCE, PATIENCE_OF_SEVERAL, Costs, Schedule


def entry(number: int, *, is_report: bool = False) -> Entry:
    job = SmallJob(f"job-{number}")
    job.is_report = is_report
    return Entry(number, job)


def numbers(schedule: Schedule) -> list[int]:
    return [one.number for one in schedule.waiting]


def test_reports_go_ahead_of_runs() -> None:
    schedule = Schedule("fair")
    for number, is_report in ((1, False), (2, False), (3, True)):
        schedule.put(entry(number, is_report=is_report))
    assert numbers(schedule) == [3, 1, 2]


@given(back=st.sets(st.integers(1, 20)), shuffle=st.randoms())
def test_jobs_that_come_back_are_next_and_in_their_order(back: set[int], shuffle: random.Random) -> None:
    schedule = Schedule("fast")
    schedule.put(entry(21))
    schedule.put_back([entry(number) for number in sorted(back, key=lambda _: shuffle.random())])
    assert numbers(schedule) == [*sorted(back), 21]


def test_a_task_is_small_once_three_runs_were_short_on_average() -> None:
    costs = Costs()
    for _ in range(2):
        costs.learn("task", 0.001)
    assert costs.batch("task") == 1
    costs.learn("task", 0.001)
    assert costs.batch("task") == BATCH
    assert costs.batch("another") == 1
    for _ in range(20):
        costs.learn("task", 2 * SMALL)
    assert costs.batch("task") == 1, "it has grown since"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(SMALL, 1), (SMALL / 2, BATCH), (WORTH / 100, 100), (1e-5, LARGEST_BATCH), (0.0, LARGEST_BATCH)],
)
def test_the_shorter_a_task_the_larger_its_batch(seconds: float, expected: int) -> None:
    costs = Costs()
    for _ in range(3):
        costs.learn("task", seconds)
    assert costs.batch("task") == expected
    assert Schedule("adaptive").backlog(seconds) == expected - 1


def test_a_larger_task_ends_a_batch_of_tiny_ones(played: Play) -> None:
    scene = played(1, strategy="adaptive")
    (child,) = scene.children
    for task, seconds in (("tiny", 1e-5), ("small", SMALL / 2)):
        for _ in range(3):
            scene.submit(1, task=task)
            child.finish(child.jobs[-1], seconds=seconds)
            scene.turn()
    scene.submit(1, task="tiny")
    scene.submit(60, task="tiny")
    scene.submit(1, task="small")
    scene.submit(60, task="tiny")
    child.finish(child.jobs[-1], seconds=1e-5)
    scene.turn()
    assert len(child.batches[-1]) == 60, "with the next one there would be more than a batch of small ones"


def test_fair_gives_a_job_to_each_free_slot_and_none_beyond(played: Play) -> None:
    scene = played(2, strategy="fair")
    scene.submit(5)
    assert [child.batches for child in scene.children] == [[[1]], [[2]]]
    scene.children[1].finish(2)
    scene.turn()
    assert scene.children[1].batches == [[2], [3]]
    assert numbers(scene.crew.schedule) == [4, 5]


def test_default_is_celery_s_word_for_fair(played: Play) -> None:
    assert played(1, strategy="default").crew.schedule.strategy == "fair"
    assert played(1).crew.schedule.strategy == "adaptive"


def test_fast_sends_up_to_32_jobs_in_one_frame_and_shares_them_out(played: Play) -> None:
    alone = played(1, strategy="fast")
    alone.submit(40)
    (child,) = alone.children
    assert child.batches == [list(range(1, BATCH + 1))]
    for number in child.jobs[: BATCH // 2]:
        child.finish(number)
    alone.turn()
    assert child.batches[1:] == [list(range(BATCH + 1, 41))], "more come before it has run dry"
    scene = played(2, strategy="fast")
    scene.submit(100)
    assert all(BATCH // 2 < len(scene.host(child).entries) <= BATCH for child in scene.children)


def test_adaptive_is_fair_until_three_runs_of_a_task_were_small(played: Play) -> None:
    scene = played(1, strategy="adaptive")
    scene.submit(20)
    (child,) = scene.children
    for number in (1, 2, 3):
        assert child.batches[-1] == [number]
        child.finish(number, seconds=0.001)
        scene.turn()
    assert child.batches[-1] == list(range(4, 21))
    scene.submit(1, task="unknown")
    assert 21 not in child.jobs, "another task is not known"


def test_a_task_that_is_not_small_does_not_travel_with_others(played: Play) -> None:
    scene = played(1, strategy="adaptive")
    scene.submit(6)
    (child,) = scene.children
    for number in range(1, 7):
        assert child.batches[-1] == [number]
        child.finish(number, seconds=0.1)
        scene.turn()


def test_what_waits_behind_a_long_job_is_asked_back_for_an_idle_child(played: Play) -> None:
    scene = played(2, strategy="fast")
    scene.submit(8)
    busy, idle = scene.children
    for number in list(idle.jobs):
        idle.finish(number)
    scene.turn()
    assert busy.told == [], "it is given a moment"
    scene.turn(2 * PATIENCE)
    first, *others = busy.jobs
    assert busy.told == [[Word.TAKE_BACK, others]]
    scene.turn(PATIENCE)
    assert len(busy.told) == 1, "it is asked once"
    busy.say([Word.RETURNED, others])
    scene.turn()
    assert idle.jobs[-len(others) :] == others, "in their order"
    assert list(scene.host(busy).entries) == [first]


@pytest.mark.parametrize("answers", [False, True])
def test_without_an_answer_a_job_is_given_elsewhere_only_once_the_child_is_dead(played: Play, answers: bool) -> None:
    scene = played(2, strategy="fast", max_restarts=100)
    scene.submit(4)
    busy, idle = scene.children
    for number in list(idle.jobs):
        idle.finish(number)
    scene.turn(PATIENCE)
    before = list(idle.jobs)
    first, second = busy.jobs
    scene.turn(60.0)
    assert idle.jobs == before
    if answers:
        busy.say([Word.RETURNED, []])  # it has begun meanwhile
        scene.turn()
        assert idle.jobs == before
    busy.page.begin(first, 1.0)
    busy.end()
    scene.turn()
    assert idle.jobs == [*before, second]
    assert [number for number, outcome in scene.finished if outcome.kind == "lost"] == [first]


@given(
    limit=st.integers(1, 4),
    strategy=st.sampled_from(["fair", "fast", "adaptive"]),
    steps=st.lists(st.tuples(st.sampled_from(["submit", "finish", "return", "wait"]), st.integers(0, 9)), max_size=25),
)
def test_no_job_is_lost_or_given_twice_and_no_child_has_more_than_it_may(
    limit: int, strategy: str, steps: list[tuple[str, int]]
) -> None:
    scene = play(limit, strategy=strategy)
    try:
        for step, amount in steps:
            child = scene.children[amount % limit]
            held = list(scene.host(child).entries)
            if step == "submit":
                scene.submit(amount)
            elif step == "finish" and held:
                child.finish(held[0])
            elif step == "return" and len(held) > 1:
                child.say([Word.RETURNED, held[1:]])
            scene.turn(0.01 if step == "wait" else 0.0)
            most = 1 if strategy == "fair" else LARGEST_BATCH
            assert all(len(host.entries) <= most for host in scene.crew.everyone)
            everywhere = [number for host in scene.crew.everyone for number in host.entries]
            everywhere += [*numbers(scene.crew.schedule), *(number for number, _ in scene.finished)]
            assert sorted(everywhere) == list(range(1, scene.number + 1))
    finally:
        scene.close()


@pytest.mark.parametrize(
    ("strategy", "small", "large"), [("fair", 0, 0), ("adaptive", BATCH - 1, 0), ("fast", BATCH - 1, BATCH - 1)]
)
def test_a_child_likes_a_frame_full_of_small_jobs(strategy: str, small: int, large: int) -> None:
    schedule = Schedule(strategy)
    assert (schedule.backlog(SMALL / 2), schedule.backlog(SMALL)) == (small, large)


def test_what_waits_behind_a_long_job_is_asked_back_also_while_others_are_busy_with_short_ones(played: Play) -> None:
    scene = played(2, strategy="fast")
    scene.submit(8)
    long, brisk = scene.children
    scene.turn(PATIENCE / 2)
    brisk.finish(brisk.jobs[0])
    scene.turn(PATIENCE)
    scene.submit(1)
    scene.turn()
    assert len(brisk.told) == 0
    assert [word for word, *_ in long.told] == [Word.TAKE_BACK]


def test_where_every_child_is_at_a_long_job_nothing_is_asked_back(played: Play) -> None:
    scene = played(2, strategy="fast")
    scene.submit(8)
    scene.turn(2 * PATIENCE)
    scene.submit(1)
    scene.turn()
    assert [child.told for child in scene.children] == [[], []]


def test_a_child_of_several_slots_gets_a_job_for_each_and_small_ones_ahead(played: Play) -> None:
    scene = played(1, strategy="adaptive", slots=5)
    (child,) = scene.children
    scene.submit(50)
    assert child.batches == [[1, 2, 3, 4, 5]], "nothing is known of the task"
    for number in child.jobs[:]:
        child.finish(number, seconds=0.001)
    scene.turn()
    assert len(scene.host(child).entries) == 5 + BATCH - 1
    scene.submit(1, task="unknown")
    while 51 not in child.jobs:
        before = scene.host(child).room
        child.finish(next(iter(scene.host(child).entries)), seconds=0.001)
        scene.turn()
    assert before == 0, "a task that is not known waits for a slot"


def test_under_fair_a_child_of_several_slots_has_no_more_jobs_than_slots(played: Play) -> None:
    scene = played(2, strategy="fair", slots=3)
    scene.submit(20)
    assert [len(scene.host(child).entries) for child in scene.children] == [3, 3]


def test_what_waits_for_the_slots_of_a_child_is_asked_back_for_one_that_gets_on(played: Play) -> None:
    scene = played(2, strategy="fast", slots=2)
    scene.submit(8)
    stuck, idle = scene.children
    started, waiting = stuck.jobs[:2], stuck.jobs[2:]
    stuck.say(*([Word.ACCEPTED, number, scene.clock.monotonic(), number % 2] for number in started))
    for number in list(idle.jobs):
        idle.finish(number)
    scene.turn()
    scene.turn(PATIENCE_OF_SEVERAL / 2)
    assert stuck.told == [], "it is given a moment"
    scene.turn(PATIENCE_OF_SEVERAL)
    assert stuck.told == [[Word.TAKE_BACK, waiting]]
    stuck.say([Word.RETURNED, waiting])
    scene.turn()
    assert idle.jobs[-len(waiting) :] == waiting
    assert list(scene.host(stuck).entries) == started


def test_a_spare_of_several_slots_has_nothing_ahead_while_its_predecessor_works(played: Play) -> None:
    scene = played(1, strategy="fast", slots=2, allow_restart=True)
    (old,) = scene.children
    scene.submit(2)
    scene.crew.renew()
    scene.turn()
    new = scene.children[1]
    new.ready()
    scene.turn()
    scene.submit(5)
    assert new.jobs == []
    old.finish(1)
    scene.turn()
    scene.submit(1)
    assert new.jobs == [3], "what waits there would run there"
    old.finish(2)
    scene.turn()
    scene.submit(1)
    assert len(new.jobs) == 7, "the old child has no job any more"
