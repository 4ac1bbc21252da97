"""What the worker does about the jobs of a child whose own pool does not see to their limits, or does not get on."""

from __future__ import annotations

from tests.plugins.prefork.stand_ins import Play

from worker_pool_prefork.frames import Word, accepted_news
from worker_pool_prefork.page import KillReason
from worker_pool_prefork.states import HostState

GRACE, MARGIN, LOOK = 1.0, 1.0, 1.0


def test_a_child_whose_pool_does_not_end_a_job_at_its_limit_is_killed(played: Play) -> None:
    scene = played(1, slots=2, time_limit=5.0, limit_grace=GRACE)
    (child,) = scene.children
    (entry,) = scene.submit(1)
    child.say([Word.ACCEPTED, entry.number, scene.clock.monotonic(), 0])
    for _ in range(6):
        scene.turn(1.0)
    assert scene.host(child).state is HostState.BUSY
    for _ in range(3):
        scene.turn(1.0)
    assert scene.host(child).state is HostState.KILLED
    assert entry.killed is KillReason.TIME_LIMIT


def test_a_job_that_waits_there_for_others_to_end_is_not_held_to_its_limit(played: Play) -> None:
    scene = played(1, strategy="fast", slots=1, time_limit=2.0, limit_grace=GRACE)
    (child,) = scene.children
    entries = scene.submit(8)
    for entry in entries:
        scene.turn(1.5)
        child.finish(entry.number)
        scene.turn()
    assert scene.host(child).state is HostState.READY
    assert [number for number, _ in scene.finished] == [entry.number for entry in entries]


def test_what_a_child_does_not_come_to_tell_is_read_from_its_journal(played: Play) -> None:
    scene = played(1, slots=2)
    (child,) = scene.children
    (entry,) = scene.submit(1)
    child.page.note(accepted_news(entry.number, 1000.5, 1))
    scene.turn(LOOK)
    assert not entry.started, "it may be about to tell"
    scene.turn(LOOK)
    assert (entry.started, entry.slot) == (1000.5, 1)


def test_what_had_started_is_lost_with_the_child_and_what_had_not_is_given_elsewhere(played: Play) -> None:
    scene = played(1, slots=2, max_restarts=100)
    (child,) = scene.children
    first, second = scene.submit(2)
    child.page.note(accepted_news(first.number, 1000.5, 1))
    child.end()
    scene.turn()
    assert [(number, outcome.kind) for number, outcome in scene.finished] == [(first.number, "lost")]
    scene.children[1].ready()
    scene.turn()
    assert scene.children[1].jobs == [second.number]
