"""Each option on each pool is honoured, emulated or refused, and what is left out is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from worker_kernel import kinds
from worker_kernel.application import TaskOptions
from worker_kernel.capabilities import OPTIONS, Support
from worker_kernel.choosing import choose_pool
from worker_kernel.errors import KernelError, OptionNeedsStep, OptionRefused, SettingsError
from worker_kernel.negotiation import GREEN_BEAT, Negotiated, negotiate
from worker_kernel.options import OPTION_SETTINGS
from worker_kernel.platforms import Platform
from worker_kernel.plugins.found import Found, Kind, Status
from worker_kernel.plugins.loading import Plugins
from worker_kernel.settings import Setting, Settings

MakePlugins = Callable[..., Plugins]
MakeSettings = Callable[..., Settings]
Bring = Callable[..., Negotiated]

ASKING: Mapping[str, object] = {
    "worker_concurrency": "3",
    "task_soft_time_limit": "1",
    "task_time_limit": "2",
    "worker_autoscale": "4,2",
    "worker_pool_restarts": "yes",
    "worker_max_tasks_per_child": "5",
    "worker_max_memory_per_child": "100MB",
    "worker_memory_limit_per_child": "200MB",
    "worker_pool_putlocks": "yes",
    "worker_optimization": "fair",
    "worker_processes": "2",
    "worker_pool_start_method": "spawn",
}
"""For each option that a setting asks for, a value that asks."""


@pytest.fixture
def bring(make_plugins: MakePlugins, make_settings: MakeSettings, linux: Platform) -> Bring:
    """Read settings, choose the pool and negotiate."""

    def brought(
        *,
        steps: tuple[str, ...] = ("autoscaler",),
        found: tuple[Found, ...] = (),
        tasks: Mapping[str, TaskOptions] | None = None,
        best_effort: bool = False,
        **given: object,
    ) -> Negotiated:
        settings, plugins = make_settings(**given), make_plugins(steps=steps, found=found)
        pool, why = choose_pool(settings, plugins, linux)
        return negotiate(
            settings, pool, plugins=plugins, tasks=tasks or {}, platform=linux, best_effort=best_effort, why_pool=why
        )

    return brought


def test_a_value_that_asks_is_known_for_every_option() -> None:
    assert set(ASKING) == {option.setting for option in OPTION_SETTINGS.values()}
    assert set(OPTIONS) - set(OPTION_SETTINGS) == {"beat", "cancel", "async_tasks"}


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork", "gevent"])
@pytest.mark.parametrize("option", list(OPTION_SETTINGS))
def test_an_option_beside_the_pool_is_honoured_or_refused_as_the_pool_declares(
    pool: str, option: str, bring: Bring, make_plugins: MakePlugins
) -> None:
    setting = OPTION_SETTINGS[option].setting
    support = make_plugins().pools[pool].capabilities.supports(option)
    given = {"worker_pool": pool, setting: ASKING[setting]}
    if support is Support.REFUSED:
        with pytest.raises(OptionRefused) as caught:
            bring(**given)
        assert caught.value.exit_code == 2
        assert caught.value.reason.startswith(f"{pool} ")
        assert pool not in caught.value.able
        assert "prefork" in caught.value.able
        assert len(str(caught.value).splitlines()) <= 5
    else:
        negotiated = bring(**given)
        (verdict,) = [verdict for verdict in negotiated.verdicts if verdict.option == option]
        assert verdict.support is support
        assert verdict.asked
        assert negotiated.settings.given(setting)


@pytest.mark.parametrize("option", [name for name in OPTION_SETTINGS if name not in ("soft_time_limit", "time_limit")])
def test_an_option_from_further_away_than_the_pool_is_left_out_with_one_warning(option: str, bring: Bring) -> None:
    setting = OPTION_SETTINGS[option].setting
    negotiated = bring(environ={"KERNEL_WORKER_POOL": "solo"}, app={setting: ASKING[setting]})
    (warning,) = negotiated.warnings
    assert warning.startswith(f"{setting} = ")
    assert "(App('proj')) is left out: solo " in warning
    assert not negotiated.settings.given(setting)


@pytest.mark.parametrize("option", list(OPTION_SETTINGS))
def test_best_effort_leaves_out_with_a_warning_what_would_be_refused(option: str, bring: Bring) -> None:
    setting = OPTION_SETTINGS[option].setting
    pool = "solo" if "time_limit" not in option else "gevent"
    negotiated = bring(worker_pool=pool, best_effort=True, **{setting: ASKING[setting]})
    (warning,) = negotiated.warnings
    assert "is left out (--best-effort): " in warning
    assert not negotiated.settings.given(setting)


def test_every_option_has_a_verdict_asked_or_not(bring: Bring) -> None:
    negotiated = bring(worker_pool="threads")
    assert [verdict.option for verdict in negotiated.verdicts] == list(OPTIONS)
    assert not any(verdict.asked for verdict in negotiated.verdicts)
    assert negotiated.warnings == ()


def test_several_refused_options_are_all_named(bring: Bring) -> None:
    with pytest.raises(OptionRefused) as caught:
        bring(worker_pool="solo", worker_concurrency="3", worker_max_tasks_per_child="5")
    assert caught.value.option == "-c 3"
    assert caught.value.__notes__ == ["refused as well: --max-tasks-per-child 5"]


@pytest.mark.parametrize(
    ("given", "concurrency", "why"),
    [
        ({"worker_pool": "threads"}, 8, "CPUs of the affinity mask"),
        ({"worker_pool": "solo"}, 1, "solo runs one task at a time"),
        ({"worker_pool": "solo", "worker_concurrency": "1"}, 1, "-c"),
        ({"worker_pool": "threads", "worker_concurrency": "3"}, 3, "-c"),
        ({"worker_pool": "solo", "file": "worker_concurrency = 8"}, 1, "solo runs one task at a time"),
        ({"worker_pool": "threads", "worker_autoscale": "9,2"}, 2, "the minimum of --autoscale 9,2"),
    ],
)
def test_the_concurrency_is_filled_in_with_its_reason(
    given: dict[str, object], concurrency: int, why: str, bring: Bring
) -> None:
    negotiated = bring(**given)
    assert negotiated.concurrency == negotiated.settings["worker_concurrency"] == concurrency
    assert str(negotiated.settings.source("worker_concurrency")) == why


def test_the_pool_is_filled_in_with_its_reason(bring: Bring) -> None:
    settings = bring().settings
    assert settings["worker_pool"] == "prefork"
    assert str(settings.source("worker_pool")) == "default: first installed of prefork, threads, solo"
    assert not settings.given("worker_pool")


def test_a_number_of_slots_beside_a_range_at_the_same_distance_is_refused(bring: Bring) -> None:
    for number in ("3", "auto"):
        with pytest.raises(OptionRefused, match="--autoscale 4,2 says how many slots there are") as caught:
            bring(worker_pool="threads", worker_autoscale="4,2", worker_concurrency=number)
        assert caught.value.exit_code == 2
        assert len(str(caught.value).splitlines()) <= 5
    given = {"worker_autoscale": "4,2", "worker_concurrency": "3"}
    (warning,) = bring(worker_pool="threads", best_effort=True, **given).warnings
    assert warning == "-c 3 is left out (--best-effort): --autoscale 4,2 says how many slots there are"


def test_of_a_number_of_slots_and_a_range_the_closer_one_holds(bring: Bring) -> None:
    further = bring(worker_pool="threads", worker_autoscale="4,2", file="worker_concurrency = 3")
    assert further.warnings == ("worker_concurrency = 3 (kernel.toml:1) is left out: --autoscale 4,2 asks for a range",)
    assert further.concurrency == 2
    closer = bring(worker_pool="threads", worker_concurrency="3", app={"worker_autoscale": "4,2"})
    (warning,) = closer.warnings
    assert warning == "worker_autoscale = 4,2 (App('proj')) is left out: -c 3 asks for a fixed number"
    assert (closer.concurrency, closer.settings["worker_autoscale"]) == (3, None)


def test_a_detail_without_what_it_goes_with_would_come_to_nothing_and_is_refused(bring: Bring) -> None:
    with pytest.raises(OptionRefused, match="it goes with --autoscale, which is not given"):
        bring(worker_pool="threads", app={"worker_autoscaler": "load"})
    assert bring(worker_pool="threads", worker_autoscale="4,2", app={"worker_autoscaler": "load"}).warnings == ()


def test_a_detail_of_what_nobody_declares_is_refused(bring: Bring) -> None:
    stray = Setting(name="acme_detail", parse=kinds.whole(), kind="whole number", goes_with="acme_whole")
    with pytest.raises(OptionRefused, match=r"acme_detail = 3 .* it goes with acme_whole, which is not given"):
        bring(added=(stray,), app={"acme_detail": 3})


def test_what_is_left_out_takes_its_details_with_it(bring: Bring) -> None:
    file = 'worker_autoscale = "4,2"\nworker_autoscaler = "load"'
    left_out = bring(worker_pool="solo", file=file)
    assert left_out.warnings == (
        "worker_autoscale = 4,2 (kernel.toml:1) is left out: solo cannot resize",
        "worker_autoscaler = load (kernel.toml:2) is left out: it goes with worker_autoscale",
    )
    assert not left_out.settings.given("worker_autoscaler")


@pytest.mark.parametrize("pool", ["threads", "prefork", "gevent", "solo"])
def test_auto_is_a_number_on_every_pool(pool: str, bring: Bring) -> None:
    negotiated = bring(worker_pool=pool, worker_concurrency="auto")
    assert isinstance(negotiated.settings["worker_concurrency"], int)
    assert negotiated.settings["worker_concurrency"] == negotiated.concurrency >= 1
    assert str(negotiated.settings.source("worker_concurrency")).startswith("-c auto: ")
    assert negotiated.warnings == ()


def test_one_slot_in_each_process_leaves_auto_nothing_to_reckon(bring: Bring) -> None:
    negotiated = bring(worker_pool="prefork", worker_processes="3", worker_concurrency="auto")
    assert (negotiated.concurrency, str(negotiated.settings.source("worker_concurrency"))) == (3, "--processes 3")


def test_autoscale_needs_first_a_pool_that_can_resize_then_the_step(bring: Bring) -> None:
    with pytest.raises(OptionRefused, match="solo cannot resize"):
        bring(worker_pool="solo", worker_autoscale="4,2", steps=())
    with pytest.raises(OptionNeedsStep, match="pip install worker-autoscale") as caught:
        bring(worker_pool="threads", worker_autoscale="4,2", steps=())
    assert caught.value.exit_code == 3
    (warning,) = bring(worker_pool="threads", worker_autoscale="4,2", steps=(), best_effort=True).warnings
    assert "needs the step 'autoscaler'" in warning


def test_a_step_whose_plugin_is_installed_and_not_used_is_told_with_the_plugin_and_the_remedy(bring: Bring) -> None:
    disabled = Found(
        name="autoscale",
        kind=Kind.PLUGIN,
        value="worker_autoscale",
        dist="worker-autoscale",
        version="0.1.0",
        status=Status.DISABLED,
        reason="by KERNEL_PLUGINS=-autoscale",
        remedy="leave out KERNEL_PLUGINS=-autoscale",
    )
    with pytest.raises(OptionNeedsStep) as caught:
        bring(worker_pool="threads", worker_autoscale="4,2", steps=(), found=(disabled,))
    assert str(caught.value) == (
        "--autoscale 4,2 needs the step 'autoscaler', which is not there: plugin autoscale (worker-autoscale 0.1.0) "
        "is disabled: by KERNEL_PLUGINS=-autoscale\nleave out KERNEL_PLUGINS=-autoscale"
    )


def test_an_embedded_scheduler_is_refused_until_a_plugin_provides_the_step(bring: Bring) -> None:
    with pytest.raises(OptionRefused, match="no installed plugin provides the step 'beat'"):
        bring(worker_pool="prefork", worker_beat=True)
    assert bring(worker_pool="prefork", worker_beat=True, steps=("beat",)).settings["worker_beat"] is True
    with pytest.raises(OptionRefused, match="threads cannot have a scheduler beside it"):
        bring(worker_pool="threads", worker_beat=True, steps=("beat",))


def test_an_embedded_scheduler_beside_a_green_pool_is_refused_in_celerys_words(bring: Bring) -> None:
    with pytest.raises(OptionRefused) as caught:
        bring(worker_pool="gevent", worker_beat=True, steps=("beat",))
    assert caught.value.reason == GREEN_BEAT


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("worker_send_task_events", "yes"),
        ("worker_without_gossip", "no"),
        ("worker_state_db", "x"),
        ("worker_pidfile", "x"),
        ("worker_detach", "yes"),
        ("task_always_eager", "yes"),
        ("task_create_missing_queues", "no"),
    ],
)
def test_what_nobody_honours_is_refused_with_its_reason(name: str, raw: str, bring: Bring) -> None:
    with pytest.raises(OptionRefused) as caught:
        bring(**{name: raw})
    assert caught.value.reason
    assert "leave it out" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("worker_send_task_events", "no"),
        ("worker_without_gossip", True),
        ("task_always_eager", False),
        ("task_protocol", 2),
        ("task_create_missing_queues", True),
        ("worker_soft_shutdown_timeout", 0.0),
        ("broker_pool_limit", None),
    ],
)
def test_a_value_that_asks_for_nothing_is_honoured(name: str, raw: object, bring: Bring) -> None:
    assert bring(app={name: raw}).warnings == ()


def test_a_prefetch_multiplier_is_said_to_be_a_buffer(bring: Bring) -> None:
    negotiated = bring(worker_pool="threads", worker_concurrency="3", worker_prefetch_multiplier="4")
    assert negotiated.settings["worker_prefetch_buffer"] is None
    (verdict,) = [verdict for verdict in negotiated.verdicts if verdict.option == "worker_prefetch_multiplier"]
    assert (verdict.support, verdict.note) == (Support.EMULATED, "a buffer of 9 messages beyond the slots")


def test_a_buffer_wins_over_a_multiplier_with_a_warning(bring: Bring) -> None:
    negotiated = bring(worker_prefetch_multiplier="4", worker_prefetch_buffer="0")
    assert negotiated.settings["worker_prefetch_buffer"] == 0
    assert negotiated.settings["worker_prefetch_multiplier"] is None
    assert "is not used" in negotiated.warnings[0]


def test_disabling_the_prefetch_contradicts_a_buffer(bring: Bring) -> None:
    assert bring(worker_disable_prefetch=True, worker_prefetch_multiplier="1").warnings == ()
    for more in ({"worker_prefetch_buffer": "5"}, {"worker_prefetch_multiplier": "2"}):
        with pytest.raises(SettingsError, match="contradicts"):
            bring(worker_disable_prefetch=True, **more)


def test_a_soft_limit_that_can_never_be_raised_is_warned_of(bring: Bring) -> None:
    (warning,) = bring(worker_pool="solo", task_soft_time_limit="5", task_time_limit="5").warnings
    assert warning == "task_soft_time_limit 5 is not below task_time_limit 5: never raised"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"is_async": True}, "async def of task t: .*cannot run async def tasks"),
        ({"time_limit": 2.0}, "time_limit of task t: .*cannot end a task"),
        ({"soft_time_limit": 1.0}, "soft_time_limit of task t: .*cannot raise a soft limit"),
    ],
)
def test_what_a_task_asks_for_is_negotiated_too(options: dict[str, object], words: str, bring: Bring) -> None:
    tasks = {"t": TaskOptions(name="t", **options)}  # type: ignore[arg-type]  # one of several fields
    with pytest.raises(OptionRefused, match=words.replace(": ", " is refused: ", 1)) as caught:
        bring(worker_pool="gevent", tasks=tasks)
    assert caught.value.able[-1:] in [("prefork",), ("solo",)]
    (warning,) = bring(worker_pool="gevent", tasks=tasks, best_effort=True).warnings
    assert "task t" in warning
    assert bring(worker_pool="prefork", tasks=tasks).warnings == ()


def test_many_tasks_are_named_in_one_line(bring: Bring) -> None:
    tasks = {f"t{number}": TaskOptions(name=f"t{number}", is_async=True) for number in range(9)}
    with pytest.raises(OptionRefused, match="async def of tasks t0, t1, t2, t3 and 5 more"):
        bring(worker_pool="threads", tasks=tasks)


@pytest.mark.parametrize("best_effort", [False, True])
def test_no_option_is_ever_ignored(best_effort: bool, bring: Bring) -> None:
    """For each pool and option: an error, a warning, or a setting that is still there."""
    for pool in ("solo", "threads", "prefork", "gevent"):
        for name, raw in ASKING.items():
            try:
                negotiated = bring(worker_pool=pool, best_effort=best_effort, **{name: raw})
            except KernelError:
                assert not best_effort
                continue
            spelling = (negotiated.settings.declared[name].options or (name,))[0]
            assert negotiated.settings.given(name) or any(
                warning.startswith(f"{spelling} ") for warning in negotiated.warnings
            )
