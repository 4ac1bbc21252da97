"""The contenders, a file each: how it is installed, started and sent to, and which settings it is given and why.

To add one, write a module here with a `PEER` and, below ``if inside(NAME):``, its tasks and a function ``send(task,
arguments)``. That part runs in the peer's own environment (its worker and its client); the part above runs in the
bench, too, where the library is not installed. Names of tasks are those of `bench.work`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

INSIDE = "BENCH_INSIDE"
BROKER = "BENCH_BROKER"
QUEUES = "BENCH_QUEUES"
SLOTS = "BENCH_SLOTS"
MODE = "BENCH_MODE"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker is started for."""

    bin: str
    """The folder of the programs of the peer's environment."""
    slots: int
    """Tasks to run at the same time, over all processes."""
    broker: str
    """URL."""
    queues: Sequence[str] = ("bench",)


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run a peer's worker."""

    name: str
    kind: str
    """What a slot is: ``processes``, ``threads``, ``greens`` (greenlets, coroutines) or ``solo``."""
    command: Callable[[Setup], list[str]]
    why: str
    """The settings that differ from the defaults, and why."""
    cases: frozenset[str]
    """The cases it takes part in, by name."""
    brokers: frozenset[str] = frozenset({"redis"})
    copies: int = 1
    """How many workers are started, for those that start no processes of their own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)
    """Case -> slots, where these differ from what the case gives to this kind."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A worker to measure."""

    name: str
    modes: tuple[Mode, ...]
    requires: tuple[str, ...] = ()
    """What pip is given. Empty: runs in the environment of the bench."""
    is_checkout: bool = False
    """Whether it is this checkout: an environment of its own has its distributions, and no tools of developers."""
    python: tuple[int, int] = (3, 11)
    """The oldest Python it runs on."""
    pure: bool = True
    """Whether it is written in Python, not around a core in another language."""
    prereleases: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Case -> why it takes no part."""


def inside(name: str) -> bool:
    """Whether this is the environment of the peer `name`, where its library can be imported."""
    return os.environ.get(INSIDE) == name


def broker() -> str:
    return os.environ[BROKER]


def queues() -> list[str]:
    return os.environ[QUEUES].split(",")


def slots() -> int:
    return int(os.environ[SLOTS])


def all_peers() -> dict[str, Peer]:
    """Every peer that has a module here, ours first, then Celery, then the others by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    peers: list[Peer] = [module.PEER for module in modules]
    peers.sort(key=lambda peer: (peer.name != "ours", peer.name != "celery", peer.name))
    return {peer.name: peer for peer in peers}
