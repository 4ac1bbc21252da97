"""The conformance kit for autoscaling policies: one class to subclass."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from ..autoscaling import AutoscalePolicy, Load
from ..core_settings import CORE_SETTINGS
from ..errors import PluginNotFound
from ..sources import read_settings
from ..suggestions import did_you_mean
from .leftovers import left_since, look
from .overriding import overridden
from .recording import PATIENCE
from .step_bench import installed

LOOKS = 100
"""How often the kit asks a policy in a row."""
_SETTLED = 5.0
_QUIET = Load(now=1000.0, size=2, busy=1, waiting=0, depth=0, age=None, runtime=0.1, minimum=1, maximum=10)


def a_load(**fields: Any) -> Load:
    """Return a load with these fields; the others are those of a worker with little to do."""
    return attrs.evolve(_QUIET, **fields)


class PolicyContract:
    """Every promise of `worker_kernel.AutoscalePolicy`, as tests for pytest.

    ::

        class TestMyPolicy(PolicyContract):
            policy = "my_policy"
    """

    policy: ClassVar[str]
    """The policy's name, as an installed plugin declares it, or ``package.module:Class``."""
    configured: ClassVar[Mapping[str, object]] = {}
    """Settings for every test, by name."""
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for what must happen, before the promise counts as broken."""

    def make_policy(self, **settings: object) -> AutoscalePolicy:
        """Build the policy, as a worker with these settings does.

        Raises:
            PluginNotFound: no plugin declares it.
            TypeError: it is no `AutoscalePolicy`.
        """
        plugins = installed()
        known = plugins.autoscale_policies
        if self.policy not in known and ":" not in self.policy:
            raise PluginNotFound(f"no policy {self.policy!r} is declared{did_you_mean(self.policy, known)}")
        path = known[self.policy].factory if self.policy in known else self.policy
        given = {name: ("configured", value) for name, value in {**self.configured, **settings}.items()}
        effective, _ = read_settings([*CORE_SETTINGS, *plugins.settings], command_line=given)
        policy = self._class(path)(effective)
        if not isinstance(policy, AutoscalePolicy):
            raise TypeError(f"{path} is no AutoscalePolicy")
        return policy

    def _class(self, path: str) -> type[AutoscalePolicy]:
        cls = installed().load_object(path)
        if not (isinstance(cls, type) and issubclass(cls, AutoscalePolicy)):
            raise TypeError(f"{path} is no AutoscalePolicy")
        return cls

    def test_nothing_is_overridden(self) -> None:
        """A promise is not made easier: a known deviation is an override marked ``xfail(reason=...)``."""
        assert not (changed := overridden(type(self), PolicyContract)), changed

    def test_it_answers_every_load_with_a_whole_number(self) -> None:
        policy = self.make_policy()
        for load in _loads():
            wanted = policy.wanted(load)
            assert type(wanted) is int, f"wanted() returns {wanted!r} for {load}"

    def test_it_does_without_what_nobody_knows(self) -> None:
        """No broker but the embedded one and Redis tells for how long messages wait, and some tell nothing."""
        policy = self.make_policy()
        for busy in (0, 2):
            wanted = policy.wanted(a_load(busy=busy, depth=None, age=None, runtime=0.0))
            assert type(wanted) is int, f"wanted() returns {wanted!r} where the broker tells nothing"

    def test_its_ceiling_leaves_at_least_one_slot(self) -> None:
        policy = self.make_policy()
        for load in _loads():
            ceiling = policy.ceiling(load)
            assert type(ceiling) is int, f"ceiling() returns {ceiling!r} for {load}"
            assert ceiling >= 1, f"ceiling() returns {ceiling!r} for {load}"

    def test_it_does_not_keep_the_loop_waiting(self) -> None:
        policy = self.make_policy()

        def ask() -> None:
            for number in range(LOOKS):
                policy.wanted(a_load(now=1000.0 + number))

        asker = threading.Thread(target=ask, name="kit-policy", daemon=True)
        asker.start()
        asker.join(self.patience)
        slow = asker.is_alive()
        asker.join(PATIENCE if slow else None)
        assert not slow, f"{LOOKS} answers take more than {self.patience} s: the loop waits for each"

    def test_its_statistics_fit_into_json_at_every_moment(self) -> None:
        policy = self.make_policy()
        for load in (None, a_load(), a_load(depth=None, busy=2), a_load(depth=9, age=2.0, busy=2)):
            if load is not None:
                policy.wanted(load)
            seen = policy.statistics()
            try:
                json.dumps(dict(seen), allow_nan=False)
            except (TypeError, ValueError) as exc:
                raise AssertionError(f"statistics() after {load} do not fit into JSON: {exc}: {seen!r}") from exc

    def test_each_worker_has_a_policy_of_its_own(self) -> None:
        """What one has seen is nothing to another."""
        one, other = self.make_policy(), self.make_policy()
        fresh = dict(other.statistics())
        for number in range(LOOKS):
            one.wanted(a_load(now=1000.0 + number, size=4, busy=4, waiting=4, depth=100, age=float(number)))
        assert dict(other.statistics()) == fresh, "what one policy sees shows in another"

    def test_it_leaves_nothing_behind(self) -> None:
        """Nobody tells a policy that it is over: it has no threads and no files."""
        before = look()
        for load in _loads():
            self.make_policy().wanted(load)
        left = left_since(before, min(self.patience, _SETTLED))
        assert not left, f"left behind: {', '.join(left)}"


def _loads() -> Iterator[Load]:
    """Yield what a worker may see, by far not likely all of it."""
    for busy, waiting, depth, age in itertools.product((0, 1, 4, 6), (0, 3), (None, 0, 10_000), (None, 0.0, 3600.0)):
        yield a_load(size=4, busy=busy, waiting=waiting, depth=depth, age=age, runtime=0.0 if busy == 0 else 30.0)
