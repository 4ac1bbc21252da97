"""Which child gets which job, how many at a time, and what is asked back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.prefork.small_application import SmallJob
from tests.plugins.prefork.stand_ins import Play, play

from worker_kernel.batches import BATCH, LARGEST_BATCH, WORTH
from worker_pool_prefork.entry import Entry
from worker_pool_prefork.frames import Word
from worker_pool_prefork.schedule import AHEAD, PATIENCE, SMALL, Costs, Schedule, fitting


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
    [(SMALL, 1), (0.005, 12), (0.001, BATCH), (WORTH / 100, 100), (1e-5, LARGEST_BATCH), (0.0, LARGEST_BATCH)],
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


@given(seconds=st.floats(0.0, 1.0, allow_subnormal=False))
def test_what_a_child_has_takes_it_no_longer_than_that(seconds: float) -> None:
    assert 1 <= fitting(seconds) <= LARGEST_BATCH
    assert fitting(seconds) == 1 or fitting(seconds) * seconds <= AHEAD


def test_a_child_has_as_many_jobs_of_a_few_milliseconds_as_take_it_a_moment(played: Play) -> None:
    scene = played(1, strategy="adaptive")
    scene.submit(30)
    (child,) = scene.children
    for number in (1, 2, 3):
        child.finish(number, seconds=AHEAD / 10.5)
        scene.turn()
    assert child.batches[-1] == list(range(4, 14))
    for number in range(4, 8):
        child.finish(number, seconds=AHEAD / 10.5)
        scene.turn()
    assert child.batches[-1][-1] == 13, "it has enough to go on"
    child.finish(8, seconds=AHEAD / 10.5)
    scene.turn()
    assert child.batches[-1] == list(range(14, 19)), "more come before it has run dry"


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
    assert (schedule.backlog(AHEAD / BATCH), schedule.backlog(SMALL)) == (small, large)


def test_a_job_whose_end_is_not_told_yet_is_not_taken_for_a_long_one(played: Play) -> None:
    scene = played(2, strategy="fast")
    scene.submit(8)
    child, idle = scene.children
    for number in list(idle.jobs):
        idle.finish(number)
    scene.turn(PATIENCE - 0.001)
    _, second, *others = child.jobs
    child.page.begin(second, scene.clock.monotonic())
    scene.turn(2 * PATIENCE / 3)
    assert child.told == []
    scene.turn(PATIENCE)
    assert child.told == [[Word.TAKE_BACK, [child.jobs[0], *others]]], "behind the one that runs now"


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
