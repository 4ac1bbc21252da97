"""Puts the steps of a blueprint in order. Pure: the same steps give the same order, however they are listed."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise

import attrs

from .bootsteps import StepSpec
from .errors import GraphError, MissingRequirement, StepCycle


class EdgeKind(enum.StrEnum):
    """Why one step comes after another."""

    REQUIRES = "requires"
    """The later one cannot do without the earlier one."""
    AFTER = "after"
    """The later one asked for it."""
    BEFORE = "before"
    """The earlier one asked for it."""
    LAST = "last"
    """The later one starts after every other step."""


_WEIGHT = {kind: place for place, kind in enumerate(EdgeKind)}


@attrs.frozen(kw_only=True)
class Edge:
    """One reason for which a step starts before another."""

    first: str
    """The step that starts first."""
    then: str
    """The step that starts later."""
    kind: EdgeKind
    """Why."""
    owner: str
    """The distribution that asked for it."""

    def __str__(self) -> str:
        asked = f"asked by {self.owner}" if self.owner else "asked by nobody known"
        match self.kind:
            case EdgeKind.REQUIRES:
                return f"{self.then} requires {self.first} ({asked})"
            case EdgeKind.AFTER:
                return f"{self.then} starts after {self.first} ({asked})"
            case EdgeKind.BEFORE:
                return f"{self.first} starts before {self.then} ({asked})"
            case EdgeKind.LAST:
                return f"{self.then} starts last, thus after {self.first} ({asked})"


@attrs.frozen(kw_only=True)
class Order:
    """The steps of a blueprint in the order in which they start; they stop in reverse."""

    names: tuple[str, ...]
    """Every step once: the waves, one after another."""
    waves: tuple[tuple[str, ...], ...]
    """Steps that wait for earlier waves only, sorted by name."""
    edges: tuple[Edge, ...]
    """Every reason for the order, sorted by its steps; requirements on absent steps and the like are none."""


def _nobody(step: str) -> str | None:
    return None


def resolve(
    steps: Sequence[StepSpec],
    *,
    install: Callable[[str], str | None] = _nobody,
    absent: Callable[[str], str | None] = _nobody,
) -> Order:
    """Return the order of ``steps``.

    Soft edges to absent steps are ignored. A name under which a step is provided stands for that step.

    Args:
        steps: the steps that take part, in any order.
        install: tells which distribution would bring a missing step; None: not known.
        absent: tells why a missing step is not there though somebody brings it (``disabled by ...``); None: nobody
            brings it.

    Raises:
        GraphError: two steps have, or provide, one name; or two want to be last.
        MissingRequirement: a required step is not there.
        StepCycle: steps wait for each other.
    """
    providers = _providers(steps)
    edges = sorted(
        set(_edges(sorted(steps, key=lambda step: step.name), providers, install, absent)),
        key=lambda edge: (edge.then, edge.first, _WEIGHT[edge.kind], edge.owner),
    )
    waits: dict[str, set[str]] = {step.name: set() for step in steps}
    for edge in edges:
        waits[edge.then].add(edge.first)
    cycle = _shortest_cycle(waits)
    if cycle:
        raise StepCycle(cycle, [str(_reason(edges, then, first)) for then, first in pairwise(cycle)])
    waves = tuple(_waves(waits))
    return Order(names=tuple(name for wave in waves for name in wave), waves=waves, edges=tuple(edges))


def _providers(steps: Iterable[StepSpec]) -> Mapping[str, StepSpec]:
    """Return who answers to each name.

    Raises:
        GraphError: more than one does.
    """
    providers: dict[str, StepSpec] = {}
    for step in sorted(steps, key=lambda step: (step.name, step.owner, step.factory)):
        for name in dict.fromkeys((step.name, *step.provides)):
            other = providers.setdefault(name, step)
            if other is not step:
                raise GraphError(
                    f"two steps answer to the name {name!r}: {other.name!r} of {other.owner or 'nobody known'} "
                    f"and {step.name!r} of {step.owner or 'nobody known'}\n"
                    "disable one of these plugins with KERNEL_PLUGINS=-NAME"
                )
    return providers


def _edges(
    steps: Sequence[StepSpec],
    providers: Mapping[str, StepSpec],
    install: Callable[[str], str | None],
    absent: Callable[[str], str | None],
) -> Iterable[Edge]:
    for step in steps:
        for name in step.requires:
            if name not in providers:
                raise MissingRequirement(
                    step.name, name, step.owner or "nobody known", install(name), absent=absent(name) or ""
                )
            yield Edge(first=providers[name].name, then=step.name, kind=EdgeKind.REQUIRES, owner=step.owner)
        for name in step.after:
            if name in providers:
                yield Edge(first=providers[name].name, then=step.name, kind=EdgeKind.AFTER, owner=step.owner)
        for name in step.before:
            if name in providers:
                yield Edge(first=step.name, then=providers[name].name, kind=EdgeKind.BEFORE, owner=step.owner)
    last = [step for step in steps if step.last]
    if len(last) > 1:
        claims = " and ".join(f"{step.name!r} of {step.owner or 'nobody known'}" for step in last[:2])
        raise GraphError(
            f"two steps want to start last: {claims}\ndisable one of these plugins with KERNEL_PLUGINS=-NAME"
        )
    for end in last:
        for step in steps:
            if step is not end:
                yield Edge(first=step.name, then=end.name, kind=EdgeKind.LAST, owner=end.owner)


def _waves(waits: Mapping[str, set[str]]) -> Iterable[tuple[str, ...]]:
    sorter = TopologicalSorter(waits)
    sorter.prepare()
    while sorter.is_active():
        wave = tuple(sorted(sorter.get_ready()))
        yield wave
        sorter.done(*wave)


def _shortest_cycle(waits: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return the shortest cycle, each step followed by one that it waits for, the first by name; ``()`` if none.

    graphlib finds a cycle too, but which one depends on the order of the input.
    """
    best: tuple[str, ...] = ()
    for start in sorted(waits):
        paths: deque[tuple[str, ...]] = deque([(start,)])
        seen = {start}
        found: tuple[str, ...] = ()
        while paths and not found:
            path = paths.popleft()
            for name in sorted(waits[path[-1]]):
                if name == start:
                    found = (*path, start)
                    break
                if name not in seen:
                    seen.add(name)
                    paths.append((*path, name))
        if found and (not best or len(found) < len(best)):
            best = found
    return best


def _reason(edges: Iterable[Edge], then: str, first: str) -> Edge:
    """Return the weightiest reason for which ``then`` waits for ``first``."""
    return min(
        (edge for edge in edges if (edge.then, edge.first) == (then, first)), key=lambda edge: _WEIGHT[edge.kind]
    )
