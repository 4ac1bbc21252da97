"""The order of steps is a law: it is checked against any graph, not only against ours."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import BlueprintName, GraphError, MissingRequirement, StepCycle, StepSpec
from worker_kernel.graph import Edge, EdgeKind, resolve


def step(
    name: str,
    *,
    requires: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    before: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    last: bool = False,
    owner: str = "",
) -> StepSpec:
    return StepSpec(
        name=name,
        blueprint=BlueprintName.WORKER,
        factory="nowhere:Step",
        requires=requires,
        after=after,
        before=before,
        provides=provides,
        last=last,
        owner=owner or f"dist-{name}",
    )


def test_no_steps_have_an_order() -> None:
    order = resolve([])
    assert (order.names, order.waves, order.edges) == ((), (), ())


def test_steps_that_say_nothing_start_by_name_in_one_wave() -> None:
    assert resolve([step("c"), step("a"), step("b")]).waves == (("a", "b", "c"),)


def test_each_wave_is_sorted_and_waits_for_earlier_waves_only() -> None:
    order = resolve([step("b", requires=("z",)), step("a", requires=("z",)), step("z"), step("m", after=("b",))])
    assert order.waves == (("z",), ("a", "b"), ("m",))
    assert order.names == ("z", "a", "b", "m")


def test_the_order_of_the_worker_is_the_one_of_the_design() -> None:
    order = resolve(
        [
            step("consumer", requires=("pool", "timer"), after=("hub", "autoscaler"), last=True),
            step("autoscaler", requires=("pool",)),
            step("pool", after=("hub", "timer")),
            step("hub", requires=("timer",)),
            step("timer"),
        ]
    )
    assert order.names == ("timer", "hub", "pool", "autoscaler", "consumer")


@pytest.mark.parametrize("kind", ["after", "before"])
def test_soft_edges_to_absent_steps_are_ignored(kind: str) -> None:
    order = resolve([step("a", **{kind: ("absent",)})])  # type: ignore[arg-type]  # a name per case
    assert order.edges == ()


def test_before_is_after_said_by_the_other() -> None:
    order = resolve([step("b", before=("a",), owner="acme"), step("a")])
    assert order.names == ("b", "a")
    assert order.edges == (Edge(first="b", then="a", kind=EdgeKind.BEFORE, owner="acme"),)


def test_last_starts_after_every_other_step() -> None:
    order = resolve([step("a", last=True), step("b"), step("c", after=("b",))])
    assert order.names == ("b", "c", "a")


def test_two_steps_cannot_both_be_last() -> None:
    with pytest.raises(GraphError, match=r"'a' of dist-a and 'b' of dist-b"):
        resolve([step("b", last=True), step("a", last=True)])


def test_to_start_after_the_last_step_is_a_cycle() -> None:
    with pytest.raises(StepCycle) as caught:
        resolve([step("end", last=True), step("late", after=("end",))])
    assert caught.value.path == ("end", "late", "end")


def test_a_step_is_required_by_a_name_that_another_provides() -> None:
    order = resolve([step("a", requires=("store",)), step("sqlite", provides=("store",))])
    assert order.names == ("sqlite", "a")
    assert order.edges[0].first == "sqlite"


@pytest.mark.parametrize("second", [step("a", owner="two"), step("b", provides=("a",), owner="two")])
def test_two_steps_for_one_name_are_refused_with_both_owners(second: StepSpec) -> None:
    with pytest.raises(GraphError, match="one") as caught:
        resolve([second, step("a", owner="one")])
    assert "'a'" in str(caught.value)
    assert "of one" in str(caught.value)
    assert "of two" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_missing_requirement_says_who_wants_it_and_what_to_install() -> None:
    with pytest.raises(MissingRequirement) as caught:
        resolve([step("consumer", requires=("timer",), owner="worker-loops")], install=lambda name: f"worker-{name}")
    error = caught.value
    assert (error.step, error.wants, error.owner, error.install) == (
        "consumer",
        "timer",
        "worker-loops",
        "worker-timer",
    )
    assert str(error).splitlines() == [
        "step 'consumer' of worker-loops requires step 'timer', which no plugin provides",
        "install it: pip install worker-timer",
    ]


def test_a_missing_requirement_says_why_an_installed_step_is_not_there() -> None:
    with pytest.raises(MissingRequirement, match="which is not there: switched off") as caught:
        resolve([step("a", requires=("b",))], absent=lambda name: f"switched off: {name}")
    assert caught.value.absent == "switched off: b"


def test_a_cycle_prints_its_path_and_who_asked_for_each_edge() -> None:
    steps = [
        step("hub", requires=("pool",), owner="worker-hub"),
        step("pool", after=("timer",), owner="worker-kernel"),
        step("hub.guard", before=("timer",), after=("hub",), owner="acme"),
        step("timer"),
        step("bystander", requires=("timer",)),
    ]
    with pytest.raises(StepCycle) as caught:
        resolve(steps)
    assert caught.value.path == ("hub", "pool", "timer", "hub.guard", "hub")
    assert caught.value.asked == (
        "hub requires pool (asked by worker-hub)",
        "pool starts after timer (asked by worker-kernel)",
        "hub.guard starts before timer (asked by acme)",
        "hub.guard starts after hub (asked by acme)",
    )
    assert len(str(caught.value).splitlines()) <= 5


def test_a_step_that_requires_itself_is_a_cycle_of_one() -> None:
    with pytest.raises(StepCycle) as caught:
        resolve([step("a", requires=("a",))])
    assert caught.value.path == ("a", "a")


names = st.lists(st.sampled_from([f"s{number}" for number in range(9)]), unique=True, max_size=9)
some = st.lists(st.sampled_from([f"s{number}" for number in range(9)]), max_size=2).map(tuple)


@st.composite
def graphs(draw: st.DrawFn) -> list[StepSpec]:
    """Any steps, with or without cycles; requirements only on steps that are there."""
    present = draw(names)
    last = draw(st.sampled_from([*present, None])) if present else None
    specs = []
    for name in present:
        requires = tuple(wanted for wanted in draw(some) if wanted in present)
        specs.append(step(name, requires=requires, after=draw(some), before=draw(some), last=name == last))
    return specs


def waits(specs: list[StepSpec]) -> set[tuple[str, str]]:
    """The pairs (first, then) as the steps state them, read independently of the code under test."""
    present = {spec.name for spec in specs}
    pairs = set()
    for spec in specs:
        pairs |= {(other, spec.name) for other in (*spec.requires, *spec.after) if other in present}
        pairs |= {(spec.name, other) for other in spec.before if other in present}
        if spec.last:
            pairs |= {(other, spec.name) for other in present - {spec.name}}
    return pairs


def has_cycle(pairs: set[tuple[str, str]]) -> bool:
    """By taking away, again and again, what nothing leads to."""
    left = {name for pair in pairs for name in pair}
    while left:
        free = {name for name in left if not any(then == name and first in left for first, then in pairs)}
        if not free:
            return True
        left -= free
    return False


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_is_a_permutation_respects_each_edge_and_does_not_depend_on_the_input(
    specs: list[StepSpec], shuffler: random.Random
) -> None:
    pairs = waits(specs)
    if has_cycle(pairs):
        with pytest.raises(StepCycle):
            resolve(specs)
        return
    order = resolve(specs)
    assert sorted(order.names) == sorted(spec.name for spec in specs)
    place = {name: number for number, name in enumerate(order.names)}
    assert all(place[first] < place[then] for first, then in pairs)
    assert {(edge.first, edge.then) for edge in order.edges} == pairs
    assert order.names == tuple(name for wave in order.waves for name in sorted(wave))
    shuffled = list(specs)
    shuffler.shuffle(shuffled)
    assert resolve(shuffled) == order


@given(graphs(), st.randoms(use_true_random=False))
def test_a_cycle_error_names_a_real_cycle_and_always_the_same(specs: list[StepSpec], shuffler: random.Random) -> None:
    pairs = waits(specs)
    if not has_cycle(pairs):
        resolve(specs)
        return
    with pytest.raises(StepCycle) as caught:
        resolve(specs)
    path = caught.value.path
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1
    assert all((first, then) in pairs for then, first in pairwise(path))
    assert len(caught.value.asked) == len(path) - 1
    shuffled = list(specs)
    shuffler.shuffle(shuffled)
    with pytest.raises(StepCycle) as again:
        resolve(shuffled)
    assert again.value.path == path
    assert again.value.asked == caught.value.asked
