"""Runs cases: who takes part, in which order, and what came of it."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import redis

from bench.cases.case import Amount, Case, Figures
from bench.contender import Contender, Failed
from bench.environments import NotInstalled, prepared, versions
from bench.peers import Mode, Peer
from bench.results import Entry, Results
from bench.servers import Servers, Unavailable

Say = Callable[[str], None]
FLOOR = "floor: "


@attrs.frozen(kw_only=True)
class Turn:
    """One who is measured in each round of a case."""

    name: str
    measure: Callable[[], Figures]


def alternating(turns: Sequence[Turn], rounds: int) -> Iterable[Turn]:
    """All turns, so many times; each round begins with another one, so that nobody always comes after the same.

    A machine that becomes slower or faster meanwhile does so for all alike.
    """
    for number in range(rounds):
        start = number % len(turns) if turns else 0
        yield from (*turns[start:], *turns[:start])


def titled(name: str, case: Case, variant: int) -> str:
    return f"{name}, {variant:,} {case.variant_of}" if case.variant_of else name


@attrs.define(eq=False)
class Run:
    """One run of the bench.

    Args:
        peers: By name.
        quick: Whether the quick amounts are taken.
        rounds: Overrides the rounds of every case, where given.
        budget: Seconds for all, inf for no bound. Each case has its share of what is left; what does not fit in it is
            left out, and said to be.
        upgrade: Whether the peers' environments are brought to the newest versions.
        say: Is told what goes on.
        keep: Is given the results after each case, so that an interrupted run has not been for nothing.
    """

    peers: dict[str, Peer]
    quick: bool
    rounds: int | None
    budget: float
    upgrade: bool
    say: Say
    keep: Callable[[Results], None] = lambda _: None
    _programs: dict[str, Path | str] = attrs.field(factory=dict)

    def execute(self, cases: Sequence[Case], command: str) -> Results:
        """Run these cases, and return all that was measured and why the rest was not."""
        servers = Servers()
        results = Results(command=command, date=dt.date.today().isoformat(), machine=machine())  # noqa: DTZ011
        self._install(results)
        over = time.monotonic() + self.budget
        try:
            for number, case in enumerate(cases):
                begun = time.monotonic()
                share = max(0.0, over - begun) / (len(cases) - number)
                results.cases[case.name] = self._case(case, servers, begun + share)
                results.load.append(round(os.getloadavg()[0], 2))
                results.servers = servers.versions()
                self.keep(results)
        finally:
            servers.close()
        return results

    def _install(self, results: Results) -> None:
        for name, peer in self.peers.items():
            try:
                programs = prepared(peer, self.upgrade)
                results.versions[name] = versions(peer, programs)
                self._programs[name] = programs
                told = " ".join(f"{what} {version}" for what, version in results.versions[name].items())
                self.say(f"{name}: {told}")
            except NotInstalled as error:
                self._programs[name] = f"not installed: {error}"
                self.say(f"{name}: not installed: {error}")

    def _case(self, case: Case, servers: Servers, deadline: float) -> dict[str, Entry]:
        amount = case.quick if self.quick else case.full
        assert amount is not None
        self.say(f"\n{case.name}: {case.title} ({amount.tasks} tasks, at most {amount.seconds:g} s)")
        entries = self._absent(case)
        turns = self._turns(case, amount, servers, entries)
        for turn in alternating(turns, self.rounds or amount.rounds):
            entry = entries.setdefault(turn.name, Entry())
            if entry.reason:
                continue
            if time.monotonic() > deadline:
                entry.reason = f"left out: the time for this case was over after {len(entry.rounds)} rounds"
                continue
            self._turn(case, turn, entry)
        return entries

    def _turn(self, case: Case, turn: Turn, entry: Entry) -> None:
        try:
            figures = turn.measure()
        except (Failed, Unavailable, OSError, redis.RedisError) as error:
            entry.reason = str(error)
            self.say(f"  {turn.name:<40} {entry.reason}")
            return
        entry.rounds.append(figures)
        more = "  ".join(f"{name} {value:.1f}" for name, value in figures.items() if name != "value")
        self.say(f"  {turn.name:<40} {figures['value']:>12,.2f} {case.unit:<8} {more}")

    def _absent(self, case: Case) -> dict[str, Entry]:
        """Who takes no part, and why."""
        entries = {}
        for name, peer in self.peers.items():
            programs = self._programs[name]
            takes_part = any(case.name in mode.cases for mode in peer.modes)
            if isinstance(programs, str) and takes_part:
                entries[name] = Entry(reason=programs)
            elif case.name in peer.left_out:
                entries[name] = Entry(reason=peer.left_out[case.name])
        return entries

    def _turns(self, case: Case, amount: Amount, servers: Servers, entries: dict[str, Entry]) -> list[Turn]:
        """The first mode of each peer, then the second of each, and so on, and then the floors."""
        turns = []
        for peer, mode in in_turn(list(self.peers.values()), case.name):
            programs = self._programs[peer.name]
            if isinstance(programs, str):
                continue
            contender = Contender(peer=peer, mode=mode, programs=programs)
            for variant in case.variants:
                turn = contending(case, contender, servers, amount, variant)
                turns.append(turn)
                entries[turn.name] = Entry(peer=peer.name, mode=mode.name, pure=peer.pure, variant=variant)
        for name in case.floors:
            turns.append(bounding(case, name, servers, amount))
            entries[turns[-1].name] = Entry(floor=True)
        return turns


def in_turn(peers: Sequence[Peer], case: str) -> list[tuple[Peer, Mode]]:
    """The modes that take part in a case, the first ones of all peers before the second ones."""
    places = [
        (place, number, peer, mode)
        for number, peer in enumerate(peers)
        for place, mode in enumerate(mode for mode in peer.modes if case in mode.cases)
    ]
    return [(peer, mode) for _, _, peer, mode in sorted(places, key=lambda one: one[:2])]


def contending(case: Case, contender: Contender, servers: Servers, amount: Amount, variant: int) -> Turn:
    def measure() -> Figures:
        return case.measure(contender, servers.get(case.broker), amount, variant)

    return Turn(name=titled(contender.name, case, variant), measure=measure)


def bounding(case: Case, name: str, servers: Servers, amount: Amount) -> Turn:
    def measure() -> Figures:
        return case.floors[name](servers.get(case.broker), amount)

    return Turn(name=f"{FLOOR}{name}", measure=measure)


def machine() -> dict[str, str]:
    """What this was measured on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
