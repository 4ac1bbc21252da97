"""What a case is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from bench.contender import Contender
from bench.servers import Server

Figures = dict[str, float]
"""The figures of one measurement: the case's own under ``value``, others by names that end in their unit."""


@attrs.frozen(kw_only=True)
class Amount:
    """How much of a case is done."""

    tasks: int
    """Tasks that are sent to each contender."""
    seconds: float
    """How long it may take; what has ended by then counts, so that slow contenders do not hold up the run."""
    rounds: int
    """How often each contender is measured, in turn."""


Measure = Callable[[Contender, Server, Amount, int], Figures]
"""Measures a contender on an empty server; the last argument is the variant of the case."""
Floor = Callable[[Server, Amount], Figures]
"""Measures what is possible without a worker."""


@attrs.frozen(kw_only=True)
class Case:
    """Something that is measured on all contenders that take part in it."""

    name: str
    title: str
    unit: str
    """Of ``value``."""
    less_is_better: bool = False
    broker: str = "redis"
    measure: Measure
    full: Amount
    quick: Amount | None = None
    """None: not part of the quick form."""
    floors: Mapping[str, Floor] = attrs.field(factory=dict)
    variants: tuple[int, ...] = (0,)
    variant_of: str = ""
    """What the variants are numbers of."""


def slots_of(contender: Contender, kinds: Mapping[str, int], case: str) -> int:
    """Its slots: what its mode says for the case, else what the case gives to its kind."""
    return contender.mode.slots.get(case, kinds[contender.mode.kind])
