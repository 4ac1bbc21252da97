"""The pool is the one that was asked for, else the first of a known list, and the reason is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from worker_kernel.choosing import choose_pool
from worker_kernel.errors import PluginNotFound
from worker_kernel.platforms import Platform
from worker_kernel.plugins.loading import Plugins
from worker_kernel.settings import Settings

MakePlugins = Callable[..., Plugins]
MakeSettings = Callable[..., Settings]


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        (("solo", "threads", "prefork"), "prefork"),
        (("solo", "threads"), "threads"),
        (("solo", "gevent"), "solo"),
    ],
)
def test_the_default_is_the_first_installed_of_prefork_threads_solo(
    installed: tuple[str, ...],
    chosen: str,
    make_plugins: MakePlugins,
    make_settings: MakeSettings,
    linux: Platform,
) -> None:
    spec, why = choose_pool(make_settings(), make_plugins(*installed), linux)
    assert spec.name == chosen
    assert why == "default: first installed of prefork, threads, solo"


def test_on_windows_the_default_is_threads(
    make_plugins: MakePlugins, make_settings: MakeSettings, windows: Platform
) -> None:
    spec, why = choose_pool(make_settings(), make_plugins(), windows)
    assert spec.name == "threads"
    assert why == "default: first installed of threads, solo, prefork"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"worker_pool": "solo"}, "-P"),
        ({"environ": {"KERNEL_WORKER_POOL": "solo"}}, "KERNEL_WORKER_POOL"),
        ({"file": 'worker_pool = "solo"'}, "kernel.toml:1"),
        ({"app": {"worker_pool": "solo"}}, "App('proj')"),
    ],
)
def test_a_pool_that_is_asked_for_is_taken_from_wherever_it_was_named(
    given: dict[str, object], why: str, make_plugins: MakePlugins, make_settings: MakeSettings, linux: Platform
) -> None:
    spec, reason = choose_pool(make_settings(**given), make_plugins(), linux)
    assert (spec.name, reason) == ("solo", why)


def test_processes_means_prefork(make_plugins: MakePlugins, make_settings: MakeSettings, linux: Platform) -> None:
    spec, _ = choose_pool(make_settings(worker_pool="processes"), make_plugins(), linux)
    assert spec.name == "prefork"


def test_an_unknown_pool_is_answered_with_the_nearest_name(
    make_plugins: MakePlugins, make_settings: MakeSettings, linux: Platform
) -> None:
    with pytest.raises(PluginNotFound, match="did you mean 'threads'"):
        choose_pool(make_settings(worker_pool="thread"), make_plugins(), linux)


def test_a_green_pool_is_never_the_default(
    make_plugins: MakePlugins, make_settings: MakeSettings, linux: Platform
) -> None:
    with pytest.raises(PluginNotFound, match="choose another with -P: gevent"):
        choose_pool(make_settings(), make_plugins("gevent"), linux)


def test_without_any_pool_it_is_said_what_to_install(make_settings: MakeSettings, linux: Platform) -> None:
    with pytest.raises(PluginNotFound, match="pip install worker-pool-threads"):
        choose_pool(make_settings(), Plugins(), linux)


def test_nothing_on_the_way_to_a_pool_imports_what_windows_lacks() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'grp', 'pwd', 'termios'): sys.modules[name] = None\n"
        "import worker_kernel.boot, worker_kernel.cli.main, worker_kernel.cli.worker\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
