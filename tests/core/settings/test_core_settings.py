"""What the kernel declares is consistent, and every setting is honoured by something or refused with a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celery.app.defaults import SETTING_KEYS
from celery.bin.worker import worker as celery_worker

import worker_kernel
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.settings import Setting

BY_NAME = {setting.name: setting for setting in CORE_SETTINGS}
HONOURED = [setting for setting in CORE_SETTINGS if not setting.refused and not setting.step]
SOURCES = Path(worker_kernel.__file__).parent
WORKSPACE = SOURCES.parents[2]


def ids(setting: Setting) -> str:
    return setting.name


def test_no_name_and_no_option_is_declared_twice() -> None:
    assert len(BY_NAME) == len(CORE_SETTINGS)
    options = [option for setting in CORE_SETTINGS for option in setting.options]
    assert len(set(options)) == len(options)


@pytest.mark.parametrize("setting", CORE_SETTINGS, ids=ids)
def test_a_setting_is_documented_and_takes_its_own_default(setting: Setting) -> None:
    assert setting.help.endswith(".")
    assert setting.kind
    assert setting.parse(setting.default) == setting.default
    if setting.flag is not None:
        assert setting.options
        assert setting.parse(setting.flag) == setting.flag
    elif setting.options:
        assert setting.metavar


@pytest.mark.parametrize("setting", [one for one in CORE_SETTINGS if one.refused or one.step], ids=ids)
def test_what_is_refused_when_asked_for_is_not_asked_for_by_default(setting: Setting) -> None:
    assert setting.default in setting.idle
    assert not (setting.refused and setting.step)


def test_a_detail_goes_with_a_setting_that_there_is() -> None:
    wholes = {setting.goes_with for setting in CORE_SETTINGS} - {""}
    assert "worker_autoscale" in wholes
    assert wholes <= {setting.name for setting in CORE_SETTINGS}


@pytest.mark.parametrize("setting", HONOURED, ids=ids)
def test_a_setting_that_is_not_refused_is_read_by_something(setting: Setting) -> None:
    roots = [SOURCES, *(WORKSPACE / "plugins").glob("*/src")]
    declaring = {"app_settings.py", "worker_settings.py", "unhonoured.py"}
    texts = (
        path.read_text(encoding="utf-8") for root in roots for path in root.rglob("*.py") if path.name not in declaring
    )
    read = any(re.search(rf"""["']{setting.name}["']""", text) for text in texts)
    assert read, "nothing reads it: refuse it or honour it"


def test_every_setting_of_celery_that_concerns_a_worker_is_known() -> None:
    concerning = {name for name in SETTING_KEYS if name.startswith(("worker_", "task_", "broker_", "result_"))}
    assert sorted(concerning - set(BY_NAME)) == []


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("task_default_queue", "celery"),
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("worker_grace", 25.0),
        ("worker_max_attempts", 3),
        ("worker_prefetch_multiplier", None),
        ("worker_prefetch_buffer", None),
        ("worker_hostname", "kernel@%h"),
        ("worker_concurrency", None),
        ("worker_pool", None),
    ],
)
def test_the_defaults_that_are_promised(name: str, default: object) -> None:
    assert BY_NAME[name].default == default


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("broker_url", ("-b", "--broker")),
        ("worker_pool", ("-P", "--pool")),
        ("worker_concurrency", ("-c", "--concurrency")),
        ("worker_queues", ("-Q", "--queues")),
        ("worker_exclude_queues", ("-X", "--exclude-queues")),
        ("worker_include", ("-I", "--include")),
        ("worker_hostname", ("-n", "--hostname")),
        ("worker_log_level", ("-l", "--loglevel")),
        ("worker_beat", ("-B", "--beat")),
        ("worker_optimization", ("-O", "--optimization")),
        ("worker_autoscale", ("--autoscale",)),
        ("worker_grace", ("--grace",)),
        ("worker_processes", ("--processes",)),
        ("task_time_limit", ("--time-limit",)),
        ("task_soft_time_limit", ("--soft-time-limit",)),
        ("worker_max_tasks_per_child", ("--max-tasks-per-child",)),
        ("worker_max_memory_per_child", ("--max-memory-per-child",)),
    ],
)
def test_the_options_are_celerys(name: str, options: tuple[str, ...]) -> None:
    assert BY_NAME[name].options == options


def test_every_option_of_celerys_worker_is_known() -> None:
    ours = {option for setting in CORE_SETTINGS for option in setting.options}
    theirs = {option for param in celery_worker.params for option in param.opts if option.startswith("-")}
    assert theirs - ours == set()
