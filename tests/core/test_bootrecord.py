"""The boot of an application as another process gets it: settings of each place, plugins, and what cannot leave."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attrs
import pytest
from tests.core.conftest import Site

from worker_kernel import App
from worker_kernel.bootrecord import Booted, BootRecord
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.errors import AppNotLoaded, PluginIncompatible, UsageError
from worker_kernel.hookspecs import CONTRACT
from worker_kernel.plugins.loading import Plugins
from worker_kernel.settings import Layer, Settings
from worker_kernel.sources import read_settings

APP = """
from worker_kernel import App
app = App("proj", broker_url="memory://", task_default_queue="from-code")
"""


@pytest.fixture
def folder(importable: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an application, in which the test works; path and directory are as before afterwards."""
    importable.module("booted_app", APP)
    monkeypatch.chdir(importable.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return importable.folder


def given(folder: Path, **app: object) -> Settings:
    """Settings of which each place gives one."""
    (folder / "kernel.toml").write_text("worker_hostname = 'of-file'\n")
    settings, _ = read_settings(
        CORE_SETTINGS,
        app={"task_default_queue": "from-code", **app},
        app_name="proj",
        environ={"KERNEL_WORKER_ZOMBIE_BUDGET": "4"},
        command_line={"worker_autoscale": ("--autoscale", "4,2"), "worker_include": ("-I", "one,two")},
        directory=folder,
    )
    return settings


def boot(folder: Path, settings: Settings) -> BootRecord:
    app = App("proj", broker_url="memory://")
    app.origin = "booted_app:app"
    record = BootRecord.of(app, settings, Plugins())
    assert BootRecord.from_bytes(record.to_bytes()) == record, "nothing is lost on the way"
    return BootRecord.from_bytes(record.to_bytes())


def test_the_settings_of_each_place_arrive_with_their_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(folder)
    record = boot(folder, settings)
    got: list[Settings] = []
    monkeypatch.setattr(App, "configure", lambda self, settings, plugins, **_: got.append(settings))
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text("")
    booted = record.load()
    assert isinstance(booted, Booted)
    assert booted.app.origin == "booted_app:app"
    (there,) = got
    for name, layer in (
        ("task_default_queue", Layer.APP),
        ("worker_hostname", Layer.FILE),
        ("worker_zombie_budget", Layer.ENVIRONMENT),
        ("worker_autoscale", Layer.COMMAND_LINE),
    ):
        assert there[name] == settings[name], name
        assert there.source(name) == settings.source(name), name
        assert there.source(name).layer is layer
    assert there["worker_lost_wait"] == settings["worker_lost_wait"]
    assert not there.given("worker_lost_wait")


def test_tuples_stay_tuples(folder: Path) -> None:
    record = boot(folder, given(folder))
    assert record.settings["worker_autoscale"][0] == (4, 2)
    assert isinstance(record.settings["worker_autoscale"][0], tuple)
    assert record.include == ("one", "two")
    assert isinstance(record.path, tuple)


def test_what_the_application_s_code_gave_is_left_to_its_code(folder: Path) -> None:
    """It may be of any kind, and hold passwords: it does not travel."""
    record = boot(folder, given(folder))
    value, layer, _ = record.settings["task_default_queue"]
    assert (value, layer) == (None, Layer.APP)


def test_code_that_gives_another_setting_there_is_refused(folder: Path) -> None:
    record = boot(folder, given(folder, worker_hijack_root_logger=False))
    record = attrs.evolve(record, include=())
    with pytest.raises(AppNotLoaded, match="worker_hijack_root_logger"):
        record.load()


def test_the_phases_of_the_start_are_told_before_they_begin(folder: Path) -> None:
    record = attrs.evolve(boot(folder, given(folder)), include=("missing_module",))
    phases: list[str] = []
    with pytest.raises(AppNotLoaded, match="missing_module"):
        record.load(phases.append)
    assert phases == ["loading plugins", "importing booted_app", "importing missing_module"]


def test_the_other_process_works_in_the_same_directory_with_the_same_path(folder: Path) -> None:
    record = attrs.evolve(boot(folder, given(folder)), include=())
    assert record.directory == str(folder) == str(Path.cwd())
    os.chdir("/")
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    record.load()
    assert Path.cwd() == folder
    assert str(folder) in sys.path


def test_a_record_of_another_contract_is_refused(folder: Path) -> None:
    other = attrs.evolve(boot(folder, given(folder)), contract=CONTRACT + 1)
    with pytest.raises(PluginIncompatible, match="restart the worker: what is installed has changed"):
        BootRecord.from_bytes(other.to_bytes())


def test_an_application_without_a_name_is_refused_with_the_remedy(folder: Path) -> None:
    """Such is one in ``__main__``, or in a shell."""
    with pytest.raises(UsageError, match=r"(?s)'main'.*-A module:attr.*--pool-start-method fork"):
        BootRecord.of(App("main", broker_url="memory://"), given(folder), Plugins())


def test_a_setting_that_json_cannot_carry_is_refused_by_name(folder: Path) -> None:
    settings = given(folder).replacing("worker_hostname", object(), "--hostname")
    app = App("proj", broker_url="memory://")
    app.origin = "booted_app:app"
    with pytest.raises(UsageError, match="worker_hostname"):
        BootRecord.of(app, settings, Plugins())
