"""What plugins declare through the declaring hooks: collected, checked, and compared for names claimed twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar, cast

import attrs

from ..bootsteps import BlueprintName, StepSpec
from ..hookspecs import (
    HOOKS,
    AutoscalePolicySpec,
    ControlCommandSpec,
    ResultStoreSpec,
    TransportSpec,
    kernel_autoscale_policies,
    kernel_control_commands,
    kernel_loops,
    kernel_pools,
    kernel_result_stores,
    kernel_settings,
    kernel_steps,
    kernel_transports,
)
from ..loop import LoopSpec
from ..pool import PoolSpec
from ..settings import Setting
from .hooks import Hooks

T = TypeVar("T")

RESERVED: Mapping[BlueprintName, frozenset[str]] = {
    BlueprintName.WORKER: frozenset({"timer", "hub", "pool", "autoscaler", "beat", "state", "control", "consumer"}),
    BlueprintName.CONSUMER: frozenset(
        {"connection", "events", "heart", "mingle", "gossip", "tasks", "remote", "delayed", "loop"}
    ),
}
"""The step names without a dot; a step by others is named ``dist.name``."""

Claim = tuple[str, str]
"""What only one may declare: the kind of thing, for messages, and its name."""


class Malformed(Exception):
    """A plugin declares something that cannot be; the message says what. Never leaves `plugins`."""


@attrs.frozen(kw_only=True)
class Declared:
    """What one plugin, or the kernel itself, declares."""

    hooks: tuple[str, ...] = ()
    """Names of all hooks that it implements, in the order of the worker's life."""
    pools: tuple[PoolSpec, ...] = ()
    """From `kernel_pools`."""
    steps: tuple[StepSpec, ...] = ()
    """From `kernel_steps`, with their owner."""
    loops: tuple[LoopSpec, ...] = ()
    """From `kernel_loops`."""
    settings: tuple[Setting, ...] = ()
    """From `kernel_settings`, with their owner."""
    transports: tuple[TransportSpec, ...] = ()
    """From `kernel_transports`."""
    result_stores: tuple[ResultStoreSpec, ...] = ()
    """From `kernel_result_stores`."""
    autoscale_policies: tuple[AutoscalePolicySpec, ...] = ()
    """From `kernel_autoscale_policies`."""
    control_commands: tuple[ControlCommandSpec, ...] = ()
    """From `kernel_control_commands`, with their owner."""

    def claims(self) -> Iterator[Claim]:
        """Yield everything of which there can be only one."""
        yield from (("pool", pool.name) for pool in self.pools)
        for step in self.steps:
            yield (f"{step.blueprint} step", step.name)
        yield from (("loop", loop.name) for loop in self.loops)
        yield from (("autoscaling policy", policy.name) for policy in self.autoscale_policies)
        for setting in self.settings:
            yield ("setting", setting.name)
            for option in setting.options:
                yield ("option", option)
        for transport in self.transports:
            yield ("transport alias", transport.alias)
            for scheme in transport.schemes:
                yield ("transport scheme", scheme)
        for store in self.result_stores:
            for scheme in store.schemes:
                yield ("result store scheme", scheme)
        for command in self.control_commands:
            for name in (command.name, *command.aliases):
                yield ("control command", name)

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return the names of everything that is declared, for ``list-plugins --load``."""
        schemes = {scheme for transport in self.transports for scheme in transport.schemes}
        schemes |= {scheme for store in self.result_stores for scheme in store.schemes}
        return {
            "hooks": self.hooks,
            "pools": tuple(sorted(pool.name for pool in self.pools)),
            "steps": tuple(sorted(step.name for step in self.steps)),
            "loops": tuple(sorted(loop.name for loop in self.loops)),
            "settings": tuple(sorted(setting.name for setting in self.settings)),
            "schemes": tuple(sorted(schemes)),
            "policies": tuple(sorted(policy.name for policy in self.autoscale_policies)),
        }


def collect(hooks: Hooks, label: str, owner: str) -> Declared:
    """Call the declaring hooks of one registered plugin and return what it declares.

    Args:
        hooks: where it is registered.
        label: under which label.
        owner: its distribution, which steps and settings take over.

    Raises:
        Malformed: it declares something of a wrong type, twice, or under a name that is not its own.
        BaseException: what an implementation raised, with a note that names the hook and the plugin.
    """

    def ask(spec: Callable[..., object], type_: type[T]) -> tuple[T, ...]:
        return tuple(_ask(hooks, label, spec, type_))

    declared = Declared(
        hooks=tuple(spec.__name__ for spec in HOOKS if hooks.implementations(label, spec)),
        pools=ask(kernel_pools, PoolSpec),
        steps=tuple(attrs.evolve(step, owner=owner) for step in ask(kernel_steps, StepSpec)),
        loops=ask(kernel_loops, LoopSpec),
        settings=tuple(attrs.evolve(setting, owner=owner) for setting in ask(kernel_settings, Setting)),
        transports=ask(kernel_transports, TransportSpec),
        result_stores=ask(kernel_result_stores, ResultStoreSpec),
        autoscale_policies=ask(kernel_autoscale_policies, AutoscalePolicySpec),
        control_commands=tuple(
            attrs.evolve(command, owner=owner) for command in ask(kernel_control_commands, ControlCommandSpec)
        ),
    )
    twice = [claim for claim, count in Counter(declared.claims()).items() if count > 1]
    if twice:
        raise Malformed(f"it declares {twice[0][0]} {twice[0][1]!r} twice")
    for step in declared.steps:
        if step.name not in RESERVED[step.blueprint] and "." not in step.name:
            raise Malformed(
                f"it names a {step.blueprint} step {step.name!r}, which is not reserved: call it {owner}.{step.name}"
            )
    return declared


def claimed_twice(all_declared: Iterable[Declared]) -> dict[Claim, list[int]]:
    """Return each claim that more than one of ``all_declared`` makes, with the places of those that do."""
    claimants: dict[Claim, list[int]] = {}
    for place, declared in enumerate(all_declared):
        for claim in declared.claims():
            claimants.setdefault(claim, []).append(place)
    return {claim: places for claim, places in claimants.items() if len(places) > 1}


def _ask(hooks: Hooks, label: str, spec: Callable[..., object], type_: type[T]) -> Iterator[T]:
    for function in hooks.implementations(label, spec):
        try:
            answer = function()
        except BaseException as exc:
            exc.add_note(f"in hook {spec.__name__} of plugin {label}")
            raise
        if answer is None:
            continue
        if not isinstance(answer, (list, tuple)) or not all(isinstance(one, type_) for one in answer):
            raise Malformed(f"its {spec.__name__} returns {answer!r}, not a list of {type_.__name__}")
        yield from cast("list[T]", answer)
