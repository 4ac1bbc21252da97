"""What we want to reach, as data, and whether a run has reached it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import attrs

from bench.cases import ALL
from bench.results import Entry, Results

FASTEST_PURE = "the fastest pure-Python peer"
FASTEST = "the fastest peer"


@attrs.frozen(kw_only=True)
class Verdict:
    """What became of a target."""

    target: str
    measured: str
    reached: bool | None
    """None: what it needs was not measured."""


@attrs.frozen(kw_only=True)
class Compared:
    """Ours is so many times as good as another one: faster, or, where less is better, smaller."""

    case: str
    ours: str
    to: str
    """The name of an entry, or `FASTEST_PURE`, `FASTEST`."""
    factor: float
    to_case: str = ""
    """Where the other one is measured, if not in the same case."""

    def verdict(self, results: Results) -> Verdict:
        entries = results.cases.get(self.case, {})
        others = results.cases.get(self.to_case, {}) if self.to_case else entries
        ours = entries.get(self.ours, Entry()).median()
        name, theirs = opponent(others, self.to, ALL[self.case].less_is_better)
        told = f"{self.ours}, {self.case}: {self.factor:.2g} x {self.to}" + (f" ({self.to_case})" * bool(self.to_case))
        if ours is None or theirs is None:
            return Verdict(target=told, measured="not measured", reached=None)
        ratio = compared(ours, theirs, ALL[self.case].less_is_better)
        shown = f"{ratio:.2f} x {name}"
        return Verdict(target=told, measured=shown, reached=ratio >= self.factor)


@attrs.frozen(kw_only=True)
class Flat:
    """It makes no difference beyond a share whether there are few or many."""

    case: str
    ours: str
    within: float

    def verdict(self, results: Results) -> Verdict:
        case, entries = ALL[self.case], results.cases.get(self.case, {})
        values = [
            one.median()
            for one in entries.values()
            if f"{one.peer} {one.mode}" == self.ours and one.median() is not None
        ]
        few_and_many = " and ".join(f"{one:,}" for one in case.variants)
        told = f"{self.ours}, {few_and_many} {case.variant_of}: within {self.within:.0%}"
        known = [value for value in values if value is not None]
        if len(known) < len(case.variants):
            return Verdict(target=told, measured="not measured", reached=None)
        apart = 1 - min(known) / max(known)
        return Verdict(target=told, measured=f"{apart:.0%} apart", reached=apart <= self.within)


@attrs.frozen(kw_only=True)
class Limit:
    """A figure is at least, or at most, so large."""

    case: str
    ours: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, results: Results) -> Verdict:
        value = results.cases.get(self.case, {}).get(self.ours, Entry()).median(self.figure)
        limit, compare, words = self._limit()
        what = ALL[self.case].unit if self.figure == "value" else self.figure
        told = f"{self.ours}, {self.case}, {what}: {words} {limit:,.4g}"
        if value is None:
            return Verdict(target=told, measured="not measured", reached=None)
        return Verdict(target=told, measured=f"{value:,.4g}", reached=compare(value, limit))

    def _limit(self) -> tuple[float, Callable[[float, float], bool], str]:
        if self.at_least is not None:
            return self.at_least, operator.ge, "at least"
        assert self.at_most is not None
        return self.at_most, operator.le, "at most"


def compared(ours: float, theirs: float, less_is_better: bool) -> float:
    """How many times as good ours is."""
    return theirs / ours if less_is_better else ours / theirs


def opponent(entries: Mapping[str, Entry], wanted: str, less_is_better: bool) -> tuple[str, float | None]:
    """The entry that is meant, by its name, and its median; the best one where the best one is meant."""
    if wanted not in (FASTEST, FASTEST_PURE):
        return wanted, entries.get(wanted, Entry()).median()
    known = {
        name: value
        for name, one in entries.items()
        if one.peer not in ("", "ours") and (one.pure or wanted == FASTEST) and (value := one.median()) is not None
    }
    if not known:
        return wanted, None
    best = (min if less_is_better else max)(known, key=lambda name: known[name])
    return best, known[best]


HALF = 2.0  # at most half as much is at least twice as good
Target = Compared | Flat | Limit
TARGETS: tuple[Target, ...] = (
    Compared(case="noop-redis", ours="ours prefork", to="celery prefork", factor=16),
    Compared(case="noop-redis", ours="ours prefork", to=FASTEST_PURE, factor=2),
    Compared(case="noop-redis", ours="ours prefork", to="mayu process", factor=1.3),
    Compared(case="noop-redis", ours="ours gevent", to="celery gevent", factor=10),
    Compared(case="noop-redis", ours="ours threads", to="celery threads", factor=10),
    Compared(case="noop-redis", ours="ours solo", to="celery solo", factor=10),
    Compared(case="noop-redis", ours="ours gevent x2", to="dramatiq gevent x2", factor=1.3),
    Compared(case="noop-rabbitmq", ours="ours prefork", to="celery prefork", factor=2.5),
    Compared(case="noop-rabbitmq", ours="ours prefork", to=FASTEST, factor=1.1),
    Compared(case="io", ours="ours gevent x2", to="celery gevent", factor=10),
    Compared(case="io", ours="ours gevent x2", to=FASTEST_PURE, factor=1.5),
    Compared(case="cpu", ours="ours prefork", to="floor: two bare processes", factor=0.9),
    Compared(case="latency", ours="ours prefork", to="celery prefork", factor=HALF),
    Compared(case="latency", ours="ours threads", to="celery threads", factor=HALF),
    Compared(case="startup", ours="ours prefork", to="celery prefork", factor=HALF),
    Compared(case="memory", ours="ours prefork", to="celery prefork", factor=1 / 0.6),
    Compared(case="noop-sqlite", ours="ours prefork", to="celery prefork", to_case="noop-rabbitmq", factor=1),
    Flat(case="depth", ours="ours prefork", within=0.10),
    Flat(case="queues", ours="ours prefork", within=0.20),
    Flat(case="slots", ours="ours gevent", within=0.20),
    Limit(case="growth", ours="ours prefork", figure="value", at_most=5),
    Limit(case="parking", ours="ours prefork", figure="value", at_least=5_000),
    Limit(case="parking", ours="ours prefork", figure="grown_mb", at_most=50),
    Limit(case="parking", ours="ours prefork", figure="ordinary_s", at_most=1),
)
