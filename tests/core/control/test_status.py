"""The status only goes forward, and whoever watches it hears of each change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import Status, WorkerState

ORDER = list(WorkerState)


def status() -> Status:
    return Status(lambda: 5.0)


@given(st.lists(st.sampled_from(ORDER)))
def test_it_never_goes_back_and_is_ready_only_while_it_runs(states: list[WorkerState]) -> None:
    one = status()
    one.set_ready(True)
    seen = [one.snapshot()]
    one.watch(seen.append)
    for state in states:
        one.enter(state, str(state))
        one.set_ready(True)
    places = [ORDER.index(snapshot.state) for snapshot in seen]
    assert places == sorted(places)
    assert one.snapshot().state is max([WorkerState.RUNNING, *states], key=ORDER.index)
    assert all(snapshot.ready is (snapshot.state is WorkerState.RUNNING) for snapshot in seen)


def test_only_changes_are_told() -> None:
    one = status()
    seen: list[object] = []
    one.watch(seen.append)
    one.set_ready(True)
    one.set_ready(True)
    one.tick()
    one.set_ready(False, "broker lost")
    one.unwatch(seen.append)
    one.enter(WorkerState.DEAD)
    assert len(seen) == 2
    assert one.snapshot().reason == "broker lost"
    assert one.snapshot().loop_tick == 5.0
