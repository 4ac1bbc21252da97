"""How a run is ordered, and that nobody is left out silently."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.__main__ import command as told
from bench.cases import Amount, Case
from bench.cases.case import Figures
from bench.contender import Contender, Failed
from bench.peers import Mode, Peer, Setup, all_peers
from bench.results import Results
from bench.running import Run, Turn, alternating, in_turn
from bench.servers import Server

AMOUNT = Amount(tasks=1, seconds=1, rounds=2)


def command(_: Setup) -> list[str]:
    return []


def peer(name: str, *modes: str, case: str = "one", **fields: object) -> Peer:
    made = tuple(Mode(name=mode, kind="solo", command=command, why="", cases=frozenset({case})) for mode in modes)
    return Peer(name=name, modes=made, **fields)  # type: ignore[arg-type]  # fields of any kind


def turn(name: str) -> Turn:
    return Turn(name=name, measure=dict)


def run_of(*peers: Peer, budget: float = math.inf) -> Run:
    named = {peer.name: peer for peer in peers}
    return Run(peers=named, quick=False, rounds=None, budget=budget, upgrade=False, say=lambda _: None)


def case(measure: object, broker: str = "sqlite") -> Case:
    return Case(name="one", title="One", unit="s", broker=broker, measure=measure, full=AMOUNT)  # type: ignore[arg-type]  # by place


def measuring(values: Iterator[float]) -> object:
    def measure(_: Contender, __: Server, ___: Amount, ____: int) -> Figures:
        return {"value": next(values)}

    return measure


def failing(_: Contender, __: Server, ___: Amount, ____: int) -> Figures:
    raise Failed("it would not")


def test_all_take_turns_and_nobody_always_follows_the_same() -> None:
    order = [one.name for one in alternating([turn("a"), turn("b"), turn("c")], rounds=4)]
    assert "".join(order) == "abcbcacababc"


def test_the_first_modes_of_all_come_before_the_second_ones() -> None:
    peers = [peer("x", "1", "2"), peer("y", "1"), peer("z", "1", "2", "3", case="another")]
    assert [(one.name, mode.name) for one, mode in in_turn(peers, "one")] == [("x", "1"), ("y", "1"), ("x", "2")]


def test_each_contender_is_measured_in_each_round() -> None:
    results = run_of(peer("x", "1"), peer("y", "1")).execute([case(measuring(iter([1.0, 2.0, 3.0, 4.0])))], "bench")
    rounds = {name: [one["value"] for one in entry.rounds] for name, entry in results.cases["one"].items()}
    assert rounds == {"x 1": [1.0, 4.0], "y 1": [2.0, 3.0]}


def test_one_that_fails_is_shown_with_the_reason_and_not_tried_again() -> None:
    entry = run_of(peer("x", "1")).execute([case(failing)], "bench").cases["one"]["x 1"]
    assert (entry.rounds, entry.reason) == ([], "it would not")


def test_one_that_does_not_take_part_is_shown_with_the_reason() -> None:
    left_out = peer("x", "1", case="another", left_out={"one": "does not do such things"})
    assert run_of(left_out).execute([case(failing)], "bench").cases["one"]["x"].reason == "does not do such things"


def test_one_that_cannot_be_installed_is_shown_with_the_reason() -> None:
    future = peer("x", "1", requires=("no-such-distribution",), python=(99, 0))
    entry = run_of(future).execute([case(failing)], "bench").cases["one"]["x"]
    assert entry.reason == "not installed: needs Python 99.0 or newer, and none was found"


def test_one_for_whom_there_is_no_time_is_shown_with_the_reason() -> None:
    entry = run_of(peer("x", "1"), budget=0).execute([case(failing)], "bench").cases["one"]["x 1"]
    assert entry.reason.startswith("left out: the time for this case was over")


def test_a_server_that_is_missing_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    entry = run_of(peer("x", "1")).execute([case(failing, broker="redis")], "bench").cases["one"]["x 1"]
    assert entry.reason == "redis-server is not installed"


def test_a_run_is_told_by_what_repeats_it_wherever_its_results_went() -> None:
    assert told(["run", "--out", "somewhere", "--quick", "--out=else"]) == "python -m bench run --quick"


def test_results_survive_being_written_and_read(tmp_path: Path) -> None:
    results = run_of(peer("x", "1")).execute([case(measuring(iter([1.0, 2.0])))], "bench")
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_results_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="has schema 0, and this bench reads 1"):
        Results.read(tmp_path / "results.json")


@pytest.mark.parametrize("name", list(all_peers()))
def test_each_peer_says_how_it_is_started_and_why_so(name: str) -> None:
    one = all_peers()[name]
    assert one.modes
    for mode in one.modes:
        program = mode.command(Setup(bin="/bin", slots=2, broker="redis://localhost"))[0]
        assert program.startswith("/bin/")
        assert mode.why
        assert mode.cases
