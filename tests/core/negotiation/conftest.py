"""Pools that can this and that, and plugins put together by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from worker_kernel.bootsteps import BlueprintName, StepSpec
from worker_kernel.capabilities import OPTIONS, Capabilities, Support
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.platforms import Platform
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.found import Found
from worker_kernel.plugins.loading import Plugins
from worker_kernel.pool import PoolSpec
from worker_kernel.settings import Setting, Settings
from worker_kernel.sources import read_settings

POOLS = {
    "solo": Capabilities(soft_time_limit=Support.NATIVE, time_limit=Support.NATIVE),
    "threads": Capabilities(
        concurrency=Support.NATIVE,
        resize=Support.NATIVE,
        putlocks=Support.EMULATED,
        max_tasks_per_child=Support.NATIVE,
    ),
    "prefork": Capabilities(**dict.fromkeys(OPTIONS, Support.NATIVE)),  # type: ignore[arg-type]  # Support fields only
    "gevent": Capabilities(concurrency=Support.NATIVE, is_green=True),
}

MakePlugins = Callable[..., Plugins]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_plugins() -> MakePlugins:
    """Plugins with the named pools and steps, and the rows that tell which distributions there are."""

    def make(*pools: str, steps: tuple[str, ...] = (), found: tuple[Found, ...] = ()) -> Plugins:
        specs = [PoolSpec(name=name, cls=f"fake:{name}", capabilities=POOLS[name]) for name in pools or POOLS]
        made = [StepSpec(name=name, blueprint=BlueprintName.WORKER, factory="fake:Step") for name in steps]
        return Plugins(found=found, declared=[Declared(pools=tuple(specs), steps=tuple(made))])

    return make


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings given in the named places: ``file`` is text, the others are mappings."""

    def make(
        *,
        app: dict[str, object] | None = None,
        file: str = "",
        environ: dict[str, str] | None = None,
        added: tuple[Setting, ...] = (),
        **line: object,
    ) -> Settings:
        (tmp_path / "kernel.toml").write_text(file)
        declared = [*CORE_SETTINGS, *added]
        spellings = {setting.name: (setting.options or (setting.name,))[0] for setting in declared}
        settings, _ = read_settings(
            declared,
            app=app,
            app_name="proj",
            environ=environ or {},
            command_line={name: (spellings[name], raw) for name, raw in line.items()},
            directory=tmp_path,
        )
        return settings

    return make


@pytest.fixture
def linux() -> Platform:
    """A machine with eight CPUs."""
    return Platform(name="linux", cpus=8, stop_signals={})


@pytest.fixture
def windows() -> Platform:
    """The same with another system."""
    return Platform(name="win32", cpus=8, stop_signals={})
