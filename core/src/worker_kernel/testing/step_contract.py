"""The conformance kit for steps: one class to subclass."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType

import pytest
from packaging.utils import canonicalize_name

from ..blueprint import Blueprint
from ..bootsteps import BlueprintName, Step, StepSpec
from ..errors import StepFailed
from ..plugins.declarations import RESERVED
from .leftovers import left_since, look
from .overriding import overridden
from .recording import PATIENCE
from .refusing import REFUSED, Refusal, refusing
from .step_bench import StepBench, StepMaker, on_worker

ENDINGS = ("stop", "terminate", "close, terminate")
"""How a blueprint may end: `Blueprint.stop` closes first; after a cold stop, or a lost connection, it terminates."""
MOST_REFUSALS = 25
"""How many threads, files, sockets and timers a start may ask for until the kit stops refusing one after the other."""
LIVES = 3
"""How many workers, or connections, follow each other."""
SETTLED = 5.0
"""Seconds after which what has been ended is gone, on a busy machine too."""
_STATELESS = (type(None), str, int, float, tuple, type, FunctionType)


class StepContract(StepMaker):
    """Every promise of `worker_kernel.Step`, as tests for pytest.

    ::

        class TestMyStep(StepContract):
            step = "my-distribution.my_step"

    The step is run in a real worker with the steps that it requires, which must be installed. A step of the consumer's
    blueprint is made anew for one connection after the other.
    """

    def test_nothing_is_overridden(self) -> None:
        """A promise is not made easier: a known deviation is an override marked ``xfail(reason=...)``."""
        assert not (changed := overridden(type(self), StepContract)), changed

    def test_its_name_is_reserved_or_begins_with_its_distribution(self) -> None:
        spec = self.make_spec()
        if spec.name in RESERVED[spec.blueprint]:
            return
        dist, dot, rest = spec.name.rpartition(".")
        wanted = f"{canonicalize_name(spec.owner)}.{rest}"
        assert dot, f"the {spec.blueprint} blueprint has no reserved name {spec.name!r}: call the step {wanted}"
        assert canonicalize_name(dist) == canonicalize_name(spec.owner), f"{spec.name!r} should be called {wanted!r}"

    def test_building_it_has_no_effect(self) -> None:
        """A blueprint builds every step to ask whether it takes part, also for ``kernel graph``, and drops it."""
        before = look()
        with on_worker(self) as bench:
            if bench.spec.blueprint is BlueprintName.CONSUMER:  # the worker around it has started by now
                before = look()
                bench.blueprint()
            self._nothing_left(before, bench, "once it was built and asked whether it takes part")

    def test_it_answers_the_same_whenever_it_is_asked_whether_it_takes_part(self) -> None:
        with on_worker(self) as bench:
            step = bench.step(bench.blueprint())
            answers = [step.enabled(bench.worker) for _ in range(3)]
            assert answers == [True, True, True], f"enabled() answers {answers}"

    def test_create_takes_nothing_that_only_stop_would_release(self) -> None:
        """Where another step fails in create, nothing has been started, and so nothing is stopped."""
        before = look()
        pending = self._create_and_drop()
        assert not pending, "create has put a call on the worker's timers: that is for start"
        self._nothing_left(before, None, "by create, where nothing was started")

    def _create_and_drop(self) -> bool:
        with on_worker(self) as bench:
            blueprint = bench.blueprint()
            bench.step(blueprint)
            blueprint.create()
            return bench.pending()

    def test_start_does_not_block(self) -> None:
        with on_worker(self) as bench:
            blueprint = bench.blueprint()
            bench.step(blueprint)
            blueprint.create()
            starter = threading.Thread(target=blueprint.start, name="kit-start", daemon=True)
            starter.start()
            starter.join(self.patience)
            blocked = starter.is_alive()
            starter.join(PATIENCE if blocked else None)  # so that what comes late is stopped, too
            blueprint.stop()
            assert not blocked, f"start did not return within {self.patience} s"

    def test_info_fits_into_json_at_every_moment(self) -> None:
        with on_worker(self) as bench:
            blueprint = bench.blueprint()
            step = bench.step(blueprint)
            for moment in ("create", "start", "close", "stop"):
                getattr(blueprint, moment)()
                _check_info(step, moment)

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_it_leaves_nothing_behind(self, ending: str) -> None:
        with on_worker(self) as bench:
            before = look()
            _live(bench, ending)
            self._nothing_left(before, bench, f"after {ending}")

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_it_raises_nothing_when_it_ends(self, ending: str) -> None:
        """A blueprint logs what is raised, and an operator reads that as a fault."""
        with on_worker(self) as bench:
            _live(bench, ending)
            assert not bench.raised, bench.raised

    def test_a_failed_start_leaves_nothing_behind(self) -> None:
        """A step whose start raises is not stopped: it releases by itself what it has taken by then."""
        for at in range(1, MOST_REFUSALS + 1):
            with on_worker(self) as bench:
                blueprint = bench.blueprint()
                step = bench.step(blueprint)
                blueprint.create()
                before = look()
                with refusing(at, bench.timers()) as refusal, _armed_during_start(type(step), refusal):
                    try:
                        blueprint.start()
                    except StepFailed as exc:
                        told = str(_root(exc))
                    else:
                        told = REFUSED  # nothing was refused, or the step can do without
                assert REFUSED in told, f"start hides that it was refused something: {told}"
                blueprint.stop()
                self._nothing_left(before, bench, f"when the system refused thing {at} that start asked for")
                if not refusal.happened:
                    return

    def test_it_is_stopped_where_a_later_step_fails_to_start(self) -> None:
        spec = self.make_spec()
        later = StepSpec(
            name="kit.fails",
            blueprint=spec.blueprint,
            factory=f"{__name__}:FailingStep",
            requires=(spec.name,),
            owner="kit",
        )
        if spec.last:
            return  # there is none
        with on_worker(self, later) as bench:
            before = look()
            blueprint = bench.blueprint()
            bench.step(blueprint)
            blueprint.create()
            with pytest.raises(StepFailed):
                blueprint.start()
            self._nothing_left(before, bench, "after a later step has failed to start")
            assert not bench.raised, bench.raised

    def test_one_life_knows_nothing_of_the_one_before(self) -> None:
        """Two workers in a row, in one process: nothing is kept in a module, nothing is handed over."""
        before = look()
        components: list[object] = []
        for _ in range(LIVES):
            with on_worker(self) as bench:
                components.append(_live(bench, "stop"))
                assert not bench.raised, bench.raised
        self._nothing_left(before, None, f"after {LIVES} workers in a row")
        _all_different(components, "worker")

    def test_two_workers_live_side_by_side(self) -> None:
        with on_worker(self) as one, on_worker(self) as other:
            blueprints = [_started(bench) for bench in (one, other)]
            _all_different([blueprint.component(one.spec.name) for blueprint in blueprints], "worker")
            blueprints[0].stop()
            _check_info(other.step(blueprints[1]), "the end of another worker's")
            blueprints[1].stop()
            assert not one.raised + other.raised, one.raised + other.raised

    def test_it_is_made_anew_when_the_connection_is_lost(self) -> None:
        """Steps of the consumer's blueprint alone: those of the worker's are built once."""
        if self.make_spec().blueprint is not BlueprintName.CONSUMER:
            return
        with on_worker(self) as bench:
            before = look()
            components: list[object] = []
            for number in range(LIVES):
                blueprint = _started(bench)
                components.append(blueprint.component(bench.spec.name))
                _check_info(bench.step(blueprint), f"connection {number}")
                blueprint.terminate()
                self._nothing_left(before, bench, "of a connection that was lost")
            _live(bench, "stop")
            assert not bench.raised, bench.raised
            _all_different(components, "connection")

    def _nothing_left(self, before: Mapping[str, Mapping[object, str]], bench: StepBench | None, when: str) -> None:
        left = left_since(before, min(self.patience, SETTLED))
        if bench is not None and bench.pending():
            left.append("a call on the worker's timers")
        assert not left, f"left behind {when}: {', '.join(left)}"


class FailingStep(Step):
    """Starts after the step under test, and fails."""

    def start(self) -> None:
        """Raise."""
        raise RuntimeError(REFUSED)


def _started(bench: StepBench) -> Blueprint:
    blueprint = bench.blueprint()
    bench.step(blueprint)
    blueprint.create()
    blueprint.start()
    return blueprint


def _live(bench: StepBench, ending: str) -> object:
    """Take the step through a whole life, and return its component."""
    blueprint = _started(bench)
    component = blueprint.component(bench.spec.name)
    for word in ending.split(", "):
        getattr(blueprint, word)()
    return component


@contextmanager
def _armed_during_start(cls: type[Step], refusal: Refusal) -> Iterator[None]:
    """Have ``refusal`` count while steps of this class start."""
    start = cls.start

    def armed(self: Step) -> None:
        refusal.armed = True
        try:
            start(self)
        finally:
            refusal.armed = False

    own = "start" in vars(cls)
    cls.start = armed  # type: ignore[method-assign]  # the point of the test
    try:
        yield
    finally:
        if own:
            cls.start = start  # type: ignore[method-assign]  # what it was
        else:
            del cls.start


def _root(exc: BaseException) -> BaseException:
    """Return what an exception goes back to."""
    while (earlier := exc.__cause__ or exc.__context__) is not None:
        exc = earlier
    return exc


def _check_info(step: Step, moment: str) -> None:
    info = step.info()
    assert isinstance(info, Mapping), f"info() after {moment} returns {info!r}, no mapping"
    try:
        json.dumps(dict(info), allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise AssertionError(f"info() after {moment} does not fit into JSON: {exc}: {info!r}") from exc
    assert all(isinstance(key, str) for key in info), f"info() after {moment} has keys that are no text: {info!r}"


def _all_different(components: Sequence[object], what: str) -> None:
    """Fail where one component serves two owners. What has no state may."""
    made = [component for component in components if not isinstance(component, _STATELESS)]
    assert len({id(component) for component in made}) == len(made), f"one component is shared: make one for each {what}"
