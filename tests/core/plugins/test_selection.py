"""The user's choice of plugins acts on metadata, before anything is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_kernel.plugins.found import Found, Kind, Status
from worker_kernel.plugins.selection import SAFE, Selection, choice


def row(name: str, dist: str = "", kind: Kind = Kind.PLUGIN, status: Status = Status.READY) -> Found:
    return Found(
        name=name, kind=kind, value=f"{name}_module", dist=dist or f"dist-{name}", version="1.0", status=status
    )


def chosen(words: str, *rows: Found, configured: object = ()) -> dict[str, Found]:
    selection, problems = Selection.read(environ={"KERNEL_PLUGINS": words}, configured=configured)
    assert problems == ()
    return {f"{one.dist}:{one.name}": one for one in selection.apply(rows)}


def test_without_a_choice_everything_stays_as_it_was_found() -> None:
    rows = (row("a"), row("b", status=Status.UNAVAILABLE))
    assert tuple(chosen("", *rows).values()) == rows


def test_a_minus_disables_and_says_by_what() -> None:
    done = chosen("-a", row("a"), row("b"))
    assert (done["dist-a:a"].status, done["dist-a:a"].reason) == (Status.DISABLED, "by KERNEL_PLUGINS=-a")
    assert done["dist-b:b"].status is Status.READY


def test_a_plus_selects() -> None:
    done = chosen("+a", row("a"))
    assert (done["dist-a:a"].status, done["dist-a:a"].reason) == (Status.SELECTED, "KERNEL_PLUGINS=+a")


def test_a_plus_does_not_cover_up_that_a_plugin_is_broken() -> None:
    assert chosen("+a", row("a", status=Status.BROKEN))["dist-a:a"].status is Status.BROKEN


def test_a_demanded_plugin_that_is_absent_is_a_row_with_did_you_mean() -> None:
    done = chosen("+autoscal", row("autoscale"))
    missing = done[":autoscal"]
    assert (missing.status, missing.remedy) == (Status.MISSING, "did you mean 'autoscale'?")


def test_a_missing_plugin_of_ours_says_what_to_install() -> None:
    assert chosen("+autoscale")[":autoscale"].remedy == "pip install worker-autoscale"


def test_two_distributions_that_claim_a_name_are_in_conflict_and_neither_wins() -> None:
    done = chosen("", row("gevent", "one", Kind.POOL), row("gevent", "two", Kind.POOL), row("solo"))
    for dist, rival in (("one", "two"), ("two", "one")):
        assert done[f"{dist}:gevent"].status is Status.CONFLICT
        assert f"claimed by {rival} 1.0" in done[f"{dist}:gevent"].reason
        assert done[f"{dist}:gevent"].remedy == f"pick one: KERNEL_PLUGINS=+{dist}:gevent"
    assert done["dist-solo:solo"].status is Status.READY


def test_a_broken_claimant_still_stands_in_the_way_of_the_other() -> None:
    done = chosen("", row("x", "one"), row("x", "two", status=Status.BROKEN))
    assert {one.status for one in done.values()} == {Status.CONFLICT}


def test_a_demand_by_name_alone_picks_nobody_in_a_conflict() -> None:
    done = chosen("+x", row("x", "one"), row("x", "two"))
    assert {one.status for one in done.values()} == {Status.CONFLICT}


@pytest.mark.parametrize("word", ["+One.Dist:x", "+one-dist:x"])
def test_a_distribution_and_name_picks_one_and_disables_the_others(word: str) -> None:
    done = chosen(word, row("x", "one_dist"), row("x", "two"))
    assert done["one_dist:x"].status is Status.SELECTED
    assert done["two:x"].status is Status.DISABLED
    assert word in done["two:x"].reason


def test_a_disabled_claimant_is_in_no_conflict() -> None:
    done = chosen("-two:x", row("x", "one"), row("x", "two"))
    assert done["one:x"].status is Status.READY
    assert done["two:x"].status is Status.DISABLED


def test_one_name_for_different_kinds_is_no_conflict() -> None:
    done = chosen("", row("x", "one", Kind.POOL), row("x", "two", Kind.COMMAND))
    assert {one.status for one in done.values()} == {Status.READY}


def test_the_later_word_holds_and_the_environment_is_later_than_the_file() -> None:
    assert chosen("-a,+a", row("a"))["dist-a:a"].status is Status.SELECTED
    assert chosen("+a -a", row("a"))["dist-a:a"].status is Status.DISABLED
    assert chosen("+a", row("a"), configured=["-a"])["dist-a:a"].status is Status.SELECTED
    assert chosen("", row("a"), configured="-a")["dist-a:a"].reason == "by plugins: -a"


def test_a_demand_that_is_taken_back_is_not_missing() -> None:
    assert chosen("+gone,-gone") == {}


def test_what_is_wanted_on_the_command_line_is_later_than_all() -> None:
    selection, _ = Selection.read(environ={"KERNEL_PLUGINS": "-solo"})
    wanting = selection.wanting(["solo"], kind=Kind.POOL, given="-P solo")
    (done,) = wanting.apply([row("solo", kind=Kind.POOL)])
    assert (done.status, done.reason) == (Status.SELECTED, "-P solo")
    assert wanting.required(done) == "-P solo"


def test_a_demand_for_a_pool_is_not_met_by_a_plugin_of_that_name() -> None:
    wanting = Selection().wanting(["x"], kind=Kind.POOL, given="-P x")
    assert [one.status for one in wanting.apply([row("x")])] == [Status.MISSING, Status.READY]


@pytest.mark.parametrize("word", ["autoscale", "!a", "+", "-a:b:c", "+:a"])
def test_a_word_that_cannot_be_understood_is_a_problem_and_counts_for_nothing(word: str) -> None:
    selection, problems = Selection.read(environ={"KERNEL_PLUGINS": f"-good,{word}"})
    assert len(problems) == 1
    assert f"KERNEL_PLUGINS={word}: expected -NAME" in problems[0]
    assert [one.name for one in selection.words] == ["good"]


def test_a_bare_name_is_answered_with_both_signs() -> None:
    _, problems = Selection.read(environ={"KERNEL_PLUGINS": "autoscale"})
    assert "did you mean '-autoscale' or '+autoscale'?" in problems[0]


@pytest.mark.parametrize("configured", [3, {"a": 1}, ["-a", 4]])
def test_a_key_of_a_wrong_type_is_a_problem(configured: object) -> None:
    selection, problems = Selection.read(environ={}, configured=configured)
    assert selection.words == ()
    assert "expected a list" in problems[0]


def test_a_minus_that_hits_nothing_is_told() -> None:
    selection, _ = Selection.read(environ={"KERNEL_PLUGINS": "-autoscal,-b"})
    assert selection.idle([row("autoscale"), row("b")]) == (
        "KERNEL_PLUGINS=-autoscal names no installed plugin; did you mean 'autoscale'?",
    )


def test_safe_mode_leaves_only_what_a_solo_worker_needs_and_no_word_counts() -> None:
    ours = [row(name, dist, Kind.POOL if name == "solo" else Kind.PLUGIN) for name, dist in SAFE.items()]
    selection, _ = Selection.read(environ={"KERNEL_PLUGINS": "-solo,+acme,+gone"}, safe_mode=True)
    done = selection.apply([*ours, row("acme"), row("hub", "not-ours")])
    assert {one.name for one in done if one.status is Status.READY} == {"hub", "loops", "solo", "sqlite"}
    others = [one for one in done if one.status is not Status.READY]
    assert {(one.dist, one.status, one.reason) for one in others} == {
        ("dist-acme", Status.DISABLED, "by --safe-mode"),
        ("not-ours", Status.DISABLED, "by --safe-mode"),
    }


def test_the_file_is_read_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text('\nplugins = ["-a", "b"]\n')
    selection, problems = choice(environ={}, directory=tmp_path)
    assert [one.name for one in selection.words] == ["a"]
    assert problems == (
        "plugins (kernel.toml:2): b: expected -NAME, +NAME, -DIST:NAME or +DIST:NAME, did you mean '-b' or '+b'?",
    )
