"""The arithmetic of the report: medians, ratios, targets, and nobody without a line."""

from __future__ import annotations

import pytest
from bench.cases import ALL
from bench.document import document
from bench.report import case_table, number, ratio, reasons, report, table
from bench.results import Entry, Results
from bench.targets import FASTEST, FASTEST_PURE, TARGETS, Compared, Flat, Limit

NOOP, LATENCY = ALL["noop-redis"], ALL["latency"]


def entry(peer: str, mode: str, *values: float, pure: bool = True, variant: int = 0) -> Entry:
    return Entry(peer=peer, mode=mode, pure=pure, variant=variant, rounds=[{"value": value} for value in values])


def results(**cases: dict[str, Entry]) -> Results:
    machine = {"cpu": "fast", "cores": "2", "kernel": "6", "python": "3.11"}
    named = {name.replace("_", "-"): entries for name, entries in cases.items()}
    return Results(command="bench", date="2026-01-31", machine=machine, servers=["Redis 7"], cases=named)


RACE = {
    "ours prefork": entry("ours", "prefork", 900, 1_000, 5_000),
    "celery prefork": entry("celery", "prefork", 100),
    "celery solo": entry("celery", "solo", 50),
    "ours solo": entry("ours", "solo", 200),
    "snake 2x8": entry("snake", "2x8", 250),
    "crab process": entry("crab", "process", 500, pure=False),
    "floor: bare": Entry(floor=True, rounds=[{"value": 9_999.0}]),
    "absent": Entry(reason="has no wheels"),
}


def rows(lines: list[str]) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_a_row_has_the_median_the_spread_and_both_ratios() -> None:
    told = rows(case_table(NOOP, RACE))
    assert told["ours prefork"] == ["1,000", "900-5,000", "10.00", "2.00"]


def test_what_celery_has_in_the_same_mode_is_compared_with_else_its_prefork() -> None:
    told = rows(case_table(NOOP, RACE))
    assert told["ours solo"][2] == "4.00"
    assert told["snake 2x8"][2] == "2.50"


def test_the_best_come_first_and_the_floors_last() -> None:
    names = list(rows(case_table(NOOP, RACE)))[2:]
    assert names[:2] == ["ours prefork", "crab process"]
    assert names[-1] == "floor: bare"


def test_who_has_no_figures_has_a_line_with_the_reason() -> None:
    assert reasons(RACE) == ["- absent: has no wheels"]
    assert "- absent: has no wheels" in report(results(noop_redis=RACE))


def test_where_less_is_better_half_as_much_is_twice_as_good() -> None:
    assert ratio(5.0, 10.0, LATENCY) == "2.00"
    assert ratio(5.0, 10.0, NOOP) == "0.50"
    assert ratio(5.0, None, NOOP) == ""


@pytest.mark.parametrize(("load", "warned"), [(5.9, False), (6.1, True)])
def test_a_run_on_a_busy_machine_says_so(load: float, warned: bool) -> None:
    run = results(noop_redis=RACE)
    run.load.append(load)
    assert ("Others used this machine" in report(run)) is warned


@pytest.mark.parametrize(("value", "told"), [(None, ""), (0.12345, "0.123"), (99.4, "99.4"), (12345.6, "12,346")])
def test_numbers_have_three_digits_that_count(value: float | None, told: str) -> None:
    assert number(value) == told


def test_columns_of_a_table_are_aligned() -> None:
    assert table([["a", "bb"], ["ccc", "d"]]) == ["| a   | bb |", "| --- | -: |", "| ccc |  d |"]


@pytest.mark.parametrize(
    ("to", "factor", "measured", "reached"),
    [
        ("celery prefork", 10, "10.00 x celery prefork", True),
        ("celery prefork", 10.1, "10.00 x celery prefork", False),
        (FASTEST_PURE, 2, "4.00 x snake 2x8", True),
        (FASTEST, 2.1, "2.00 x crab process", False),
        ("mayu process", 1, "not measured", None),
    ],
)
def test_a_target_is_reached_from_its_factor_on(to: str, factor: float, measured: str, reached: bool | None) -> None:
    verdict = Compared(case="noop-redis", ours="ours prefork", to=to, factor=factor).verdict(results(noop_redis=RACE))
    assert (verdict.measured, verdict.reached) == (measured, reached)


def test_a_target_can_be_against_another_case() -> None:
    target = Compared(case="noop-sqlite", ours="ours prefork", to="celery prefork", to_case="noop-rabbitmq", factor=1)
    run = results(
        noop_sqlite={"ours prefork": entry("ours", "prefork", 300)},
        noop_rabbitmq={"celery prefork": entry("celery", "prefork", 200)},
    )
    assert target.verdict(run).measured == "1.50 x celery prefork"


@pytest.mark.parametrize(("many", "reached"), [(95.0, True), (85.0, False), (115.0, False)])
def test_flat_is_flat_both_ways(many: float, reached: bool) -> None:
    variants = {"few": entry("ours", "prefork", 100, variant=1), "many": entry("ours", "prefork", many, variant=50)}
    others = {"other": entry("celery", "prefork", 1, variant=1)}
    verdict = Flat(case="queues", ours="ours prefork", within=0.1).verdict(results(queues=variants | others))
    assert verdict.reached is reached


def test_a_limit_holds_for_any_figure() -> None:
    parked = results(parking={"ours prefork": Entry(rounds=[{"value": 6_000.0, "grown_mb": 60.0}])})
    fast = Limit(case="parking", ours="ours prefork", figure="value", at_least=5_000)
    small = Limit(case="parking", ours="ours prefork", figure="grown_mb", at_most=50)
    unknown = Limit(case="parking", ours="ours prefork", figure="ordinary_s", at_most=1)
    assert [one.verdict(parked).reached for one in (fast, small, unknown)] == [True, False, None]


def test_targets_are_about_cases_and_contenders_that_there_are() -> None:
    from bench.peers import all_peers

    playing = {
        (case, f"{peer.name} {mode.name}")
        for peer in all_peers().values()
        for mode in peer.modes
        for case in mode.cases
    }
    for target in TARGETS:
        assert (target.case, target.ours) in playing
        if isinstance(target, Compared) and target.to not in (FASTEST, FASTEST_PURE):
            case = target.to_case or target.case
            floor = target.to.removeprefix("floor: ")
            assert (case, target.to) in playing or floor in ALL[case].floors


def test_the_page_has_every_case_even_those_that_a_run_left_out() -> None:
    page = document(results(noop_redis=RACE))
    for case in ALL.values():
        assert f"\n## {case.title}\n" in page
    assert page.count("not part of this run") == len(ALL) - 1


def test_the_page_of_several_runs_has_the_cases_and_the_commands_of_each() -> None:
    joined, other = (
        results(noop_redis=RACE),
        results(noop_redis={}, latency={"ours prefork": entry("ours", "prefork", 3)}),
    )
    other.command = "another"
    joined.join(other)
    page = document(joined)
    assert "\n- `bench`\n- `another`\n" in page
    assert page.count("not part of this run") == len(ALL) - 2
    assert "snake 2x8" in page, "the first one's entries stay"
