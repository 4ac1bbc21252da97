"""How children are kept in number: replaced, given up, seen off; with children that the test plays."""

from __future__ import annotations

import logging
import signal
import subprocess

import pytest
from tests.plugins.prefork.small_application import SmallJob
from tests.plugins.prefork.stand_ins import Play

from worker_kernel.poolstep import MAX_RESTARTS
from worker_pool_prefork.entry import Entry
from worker_pool_prefork.frames import Word
from worker_pool_prefork.host import Host
from worker_pool_prefork.launch.launcher import Exit, reap
from worker_pool_prefork.limits import REPORT_LIMIT
from worker_pool_prefork.states import NEXT, HostState


def states(*hosts: Host) -> list[str]:
    return [str(host.state) for host in hosts]


def test_max_restarts_ends_of_children_within_a_second_are_borne_and_one_more_is_told(played: Play) -> None:
    """Row ``max_restarts``: 100 on the loop; that the pool is told so, see tests/core/worker/test_pool_step.py."""
    scene = played(1, max_restarts=MAX_RESTARTS)
    for number in range(MAX_RESTARTS + 1):
        assert scene.failing == [], number
        scene.children[-1].end()
        scene.turn()
        if len(scene.children) == number + 2:
            scene.children[-1].ready()
            scene.turn()
    ((reason, code),) = scene.failing
    assert "more than 100 child processes ended within 1 s" in reason
    assert code == 7
    assert len(scene.children) == MAX_RESTARTS + 1, "no more are made"


@pytest.mark.parametrize("options", [{"max_restarts": None}, {"max_restarts": 3}])
def test_ends_that_are_spread_out_or_not_limited_are_borne_for_ever(played: Play, options: dict[str, int]) -> None:
    """Row ``max_restarts``: none when threaded."""
    scene = played(1, **options)
    for _ in range(150):
        scene.children[-1].end()
        scene.turn(0.5 if options["max_restarts"] else 0.0)
        scene.children[-1].ready()
        scene.turn()
    assert scene.failing == []
    assert scene.crew.recycled["lost"] == 150


def test_a_job_that_ends_well_refills_the_budget_of_restarts(played: Play) -> None:
    scene = played(1, max_restarts=1)
    for _ in range(5):
        (entry,) = scene.submit()
        scene.children[-1].finish(entry.number)
        scene.turn()
        scene.children[-1].end()
        scene.turn()
        scene.children[-1].ready()
        scene.turn()
    assert scene.failing == []


def test_children_that_end_before_they_are_ready_have_a_budget_of_their_own_and_one_error(
    played: Play, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    scene = played(2, ready=False, max_restarts=None)
    for number in range(3 + 1):  # one start for each child, and one more, and the one too many
        assert scene.failing == [], number
        scene.children[number].say([Word.BROKEN, "ImportError: no module named 'proj'"])
        scene.turn()
        scene.children[number].end(3 << 8)
        scene.turn()
    ((reason, code),) = scene.failing
    assert "before they are ready" in reason
    assert "ImportError: no module named 'proj'" in reason
    assert code == 7
    assert caplog.text.count("a child process could not be started") == 1


def test_a_child_that_is_ready_refills_the_budget_of_starts(played: Play) -> None:
    scene = played(1, ready=False)
    for _ in range(6):
        scene.children[-1].end()
        scene.turn()
        scene.children[-1].ready()
        scene.turn()
        scene.children[-1].end()
        scene.turn(2.0)
    assert scene.failing == []


def test_a_child_that_does_not_get_on_with_its_start_is_killed_and_progress_gives_it_more_time(
    played: Play, caplog: pytest.LogCaptureFixture
) -> None:
    scene = played(1, ready=False, options={"worker_proc_alive_timeout": 10.0})
    (child,) = scene.children
    host = scene.host(child)
    for phase in ("importing proj", "importing proj.tasks", "configuring the application"):
        scene.turn(9.0)
        child.say([Word.PHASE, phase])
        scene.turn()
        assert states(host) == ["starting"]
    scene.turn(9.0)
    assert states(host) == ["starting"]
    scene.turn(1.0)
    assert states(host) == ["killed"]
    child.end()
    scene.turn()
    assert "did not get on for 10 s while configuring the application (worker_proc_alive_timeout)" in caplog.text
    assert len(scene.children) == 2, "another one is started"
    scene.children[1].ready()
    scene.turn(60.0)
    assert scene.host(scene.children[1]).state is HostState.READY, "one that is ready is not watched"


def test_a_child_that_is_let_go_while_its_start_hangs_is_killed_as_well(played: Play) -> None:
    scene = played(2, ready=False, options={"worker_proc_alive_timeout": 10.0})
    scene.crew.reduce()
    (leaving,) = scene.crew.leaving
    scene.turn(10.0)
    assert leaving.state is HostState.KILLED


def test_a_child_with_no_runs_left_is_replaced_by_one_that_is_warm(played: Play) -> None:
    """Row ``maxtasksperchild``; with real processes, see test_pool.py."""
    scene = played(1, max_tasks_per_child=2, strategy="fair")
    (old,) = scene.children
    scene.submit(4)
    assert len(scene.children) == 1
    old.finish(1)
    scene.turn()
    _, new = scene.children
    assert old.jobs == [1, 2], "it is used up"
    old.finish(2)
    scene.turn()
    assert old.told == [], "it stays until the other one is ready"
    new.ready()
    scene.turn()
    assert new.jobs == [3]
    assert old.told[-1] == [Word.QUIT]
    assert scene.crew.recycled == {"max_tasks_per_child": 1}


def test_a_restart_replaces_a_child_that_was_to_be_replaced_anyway(played: Play) -> None:
    scene = played(1, max_tasks_per_child=1, strategy="fair")
    scene.submit(2)
    old, spare = scene.children
    scene.crew.renew()
    scene.turn()
    assert scene.launcher.renewed == 1
    _, _, new = scene.children
    spare.end(0)
    old.finish(1)
    new.ready()
    scene.turn()
    assert new.jobs == [2]
    assert [host.orders.index for host in scene.crew.active.values()] == [0]


def test_a_replacement_that_dies_is_replaced_itself(played: Play) -> None:
    scene = played(1, max_tasks_per_child=1, strategy="fair")
    scene.submit(2)
    _, spare = scene.children
    spare.end()
    scene.turn()
    new = scene.children[2]
    new.ready()
    scene.children[0].finish(1)
    scene.turn()
    assert new.jobs == [2]


def test_a_replacement_has_no_more_room_than_the_one_before_it_has_left(played: Play) -> None:
    scene = played(1, strategy="fair")
    scene.submit(2)
    scene.crew.renew()
    old, new = scene.children
    new.ready()
    scene.turn()
    assert new.jobs == [], "the one before it still works"
    old.finish(1)
    scene.turn()
    assert new.jobs == [2]


def test_a_child_that_closes_its_pipe_and_lives_on_is_killed_after_lost_wait(played: Play) -> None:
    """Row ``lost_worker_timeout``: what bounds the wait for a child that can say nothing any more."""
    scene = played(1, lost_wait=10.0, max_restarts=None)
    (child,) = scene.children
    host = scene.host(child)
    scene.submit(1)
    child.page.begin(1, 1.0)
    child.pipe.close()
    scene.turn()
    scene.turn(9.9)
    assert states(host) == ["busy"], "what it was doing may still end"
    scene.turn(0.1)
    assert states(host) == ["killed"]
    host.exited(Exit(status=signal.SIGKILL, peak=0))
    child.page.close()
    scene.turn()
    assert [outcome.kind for _, outcome in scene.finished] == ["lost"]
    assert scene.crew.recycled == {"lost": 1}


def test_a_report_that_a_child_does_not_take_up_is_given_to_another_one(played: Play) -> None:
    scene = played(1, max_restarts=None)
    (child,) = scene.children
    entry = Entry(1, SmallJob("report"))
    entry.job.is_report = True
    scene.crew.schedule.put(entry)
    scene.crew.pump()
    scene.turn()
    scene.turn(REPORT_LIMIT)
    assert states(scene.host(child)) == ["killed"]
    child.end()
    scene.turn()
    scene.children[1].ready()
    scene.turn()
    assert scene.children[1].jobs == [1]


def test_what_a_child_said_before_it_ended_counts_from_the_pipe_and_from_the_journal(played: Play) -> None:
    scene = played(1, strategy="fast", max_restarts=None)
    scene.submit(4)
    (child,) = scene.children
    child.finish(1)
    child.page.begin(2, 2.0)
    child.page.end(b'["finished",2,2.0,0.1,["succeeded",true,0.1,""]]')
    child.page.begin(3, 3.0)
    child.end()
    scene.turn()
    assert [(number, str(outcome.kind)) for number, outcome in scene.finished] == [
        (1, "succeeded"),
        (2, "succeeded"),
        (3, "lost"),
    ]
    scene.children[1].ready()
    scene.turn()
    assert scene.children[1].jobs == [4], "what had not started is run elsewhere, and costs no attempt"


def test_a_child_that_was_let_go_and_does_not_go_is_killed_and_its_end_asked_for(played: Play) -> None:
    scene = played(2)
    scene.crew.reduce()
    (host,) = scene.crew.leaving
    states = []
    for seconds in (9.9, 0.2):
        scene.turn(seconds)
        states.append(host.state)
    assert states == [HostState.RETIRING, HostState.KILLED], "after lost_wait"
    assert scene.launcher.overdue_births == []
    scene.turn(10.1)
    assert scene.launcher.overdue_births == [host]
    assert len(scene.crew.active) == 1


@pytest.mark.parametrize("said", [b"\xff" * 40, b"\x00\x00\x00\x04\x02[[3]", b'\x00\x00\x00\x10\x02[["finished", 1]]'])
def test_a_child_that_speaks_in_riddles_is_killed(played: Play, said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    scene = played(1)
    (child,) = scene.children
    scene.submit(1)
    child.pipe.sendall(said)
    scene.turn()
    assert scene.host(child).state is HostState.KILLED
    assert "speaks in riddles" in caplog.text


def test_reaping_tells_how_a_process_ended_without_waiting_for_it(played: Play) -> None:
    scene = played(1)
    process = subprocess.Popen(["sleep", "60"])
    ended: list[str] = []
    reap(scene.reactor, process.pid, lambda ending: ended.append(ending.words))
    scene.turn()
    assert ended == []
    process.kill()
    scene.reactor.turn_until(lambda: bool(ended), None)
    assert ended == ["signal 9 (SIGKILL)"]
    process.returncode = -9  # it was reaped here


def test_states_only_ever_go_down_the_list_but_for_busy_and_ready() -> None:
    order = list(HostState)
    for state, followers in NEXT.items():
        for follower in followers:
            assert order.index(follower) > order.index(state) or (state, follower) == (HostState.BUSY, HostState.READY)
    assert NEXT[HostState.REAPED] == frozenset()
