"""From the command line's values to everything a worker needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from worker_kernel.boot import prepare
from worker_kernel.errors import AppNotLoaded, KernelError, OptionRefused, SettingsError, UsageError
from worker_kernel.platforms import Platform
from worker_kernel.plugins.loading import Plugins

WriteModules = Callable[..., Path]
LINUX = Platform(name="linux", cpus=4, stop_signals={})
TASKS = """
from worker_kernel import App
app = App("proj", worker_max_attempts=5)
@app.task
def add(a, b):
    return a + b
"""


def test_everything_is_decided_and_what_came_from_where_is_known(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_boot=TASKS)
    boot = prepare(
        "wk_boot", plugins=plugins, command_line={"worker_grace": ("--grace", "3")}, environ={}, platform=LINUX
    )
    assert (boot.app.name, boot.pool.name, boot.negotiated.concurrency) == ("proj", "threads", 4)
    assert boot.why_pool == "default: first installed of prefork, threads, solo"
    assert boot.settings["worker_grace"] == 3.0
    assert str(boot.settings.source("worker_max_attempts")) == "App('proj')"
    assert str(boot.settings.source("worker_concurrency")) == "CPUs of the affinity mask"
    assert boot.warnings == ()


def test_the_warnings_of_all_stages_are_handed_on(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_boot=TASKS)
    boot = prepare(
        "wk_boot",
        plugins=plugins,
        command_line={"worker_pool": ("-P", "solo")},
        environ={"KERNEL_NEVER": "1", "KERNEL_WORKER_CONCURRENCY": "8"},
        platform=LINUX,
    )
    assert [warning.split(" ")[0] for warning in boot.warnings] == ["no", "worker_concurrency"]
    assert boot.negotiated.concurrency == 1


def test_no_application_is_a_usage_error(plugins: Plugins) -> None:
    with pytest.raises(UsageError, match="name it with -A") as caught:
        prepare(None, plugins=plugins)
    assert caught.value.exit_code == 2


def test_an_application_without_tasks_is_refused(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_boot="from worker_kernel import App\napp = App('proj')\n")
    with pytest.raises(AppNotLoaded, match=r"no @app\.task was found"):
        prepare("wk_boot", plugins=plugins, environ={}, platform=LINUX)


def test_tasks_may_come_from_further_modules(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(
        wk_boot="from worker_kernel import App\napp = App('proj')\n",
        wk_boot_tasks="from wk_boot import app\n@app.task\ndef more():\n    pass\n",
    )
    include = {"worker_include": ("-I", "wk_boot_tasks")}
    boot = prepare("wk_boot", plugins=plugins, command_line=include, environ={}, platform=LINUX)
    assert "wk_boot_tasks.more" in boot.app.tasks()


def test_all_wrong_settings_are_told_at_once(write_modules: WriteModules, plugins: Plugins) -> None:
    here = write_modules(wk_boot=TASKS.replace("worker_max_attempts=5", "worker_max_attemps=5"))
    (here / "kernel.toml").write_text("worker_grace = -1\n")
    with pytest.raises(SettingsError) as caught:
        prepare("wk_boot", plugins=plugins, environ={"KERNEL_WORKER_CONCURRENCY": "0"}, platform=LINUX)
    assert len(caught.value.problems) == 3
    assert "did you mean worker_max_attempts?" in caught.value.problems[0]


def test_an_async_task_on_a_pool_that_cannot_run_it_is_refused_by_name(
    write_modules: WriteModules, plugins: Plugins
) -> None:
    write_modules(wk_boot=TASKS + "@app.task\nasync def later():\n    pass\n")
    with pytest.raises(OptionRefused, match=r"async def of task wk_boot\.later"):
        prepare("wk_boot", plugins=plugins, environ={}, platform=LINUX)
    effort = {"worker_best_effort": ("--best-effort", True)}
    boot = prepare("wk_boot", plugins=plugins, command_line=effort, environ={}, platform=LINUX)
    assert "will fail with UnsupportedOption" in boot.warnings[0]


def test_with_windows_faked_the_pool_is_threads(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_boot=TASKS)
    boot = prepare("wk_boot", plugins=plugins, environ={}, platform=attrs.evolve(LINUX, name="win32"))
    assert boot.pool.name == "threads"
    assert boot.platform.windows


def test_no_stage_needs_anything_to_be_connected(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_boot=TASKS)
    line = {"broker_url": ("-b", "nowhere://x"), "result_backend": ("--result-backend", "nowhere://x")}
    assert prepare("wk_boot", plugins=plugins, command_line=line, environ={}, platform=LINUX).app.name == "proj"


def test_every_error_of_this_stage_has_its_own_exit_code() -> None:
    codes = {kind.__name__: kind.exit_code for kind in (UsageError, SettingsError, OptionRefused, AppNotLoaded)}
    assert codes == {"UsageError": 2, "SettingsError": 2, "OptionRefused": 2, "AppNotLoaded": 4}
    assert KernelError.exit_code == 1
