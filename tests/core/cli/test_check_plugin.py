"""``kernel check-plugin`` says of each promise whether it is kept, and ends with a code that a script can use."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

import pytest

from worker_kernel.cli.main import run as kernel
from worker_kernel.testing import PluginContract
from worker_kernel.testing.checking import subjects
from worker_kernel.testing.promises import Verdict
from worker_kernel.testing.step_bench import installed

if TYPE_CHECKING:
    from ..conftest import Site

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROBE = """
from worker_kernel import BlueprintName, Step, StepSpec, implements, kernel_steps
CONTRACT = 1

class Probe(Step):
    {method}

@implements(kernel_steps)
def steps():
    worker = BlueprintName.WORKER
    return [StepSpec(name="acme.probe", blueprint=worker, factory="acme_probe:Probe", requires=("timer",))]
"""


@pytest.fixture
def probe(site: Site) -> Callable[[str], None]:
    """Install a plugin with a step that has one method."""

    def install(method: str) -> None:
        site.module("acme_probe", PROBE.format(method=method))
        site.install("acme", {"plugins": {"probe": "acme_probe"}})

    return install


def test_a_plugin_that_keeps_its_promises_is_told_so(run: Run, probe: Callable[[str], None]) -> None:
    probe("def start(self): pass")
    done = run("check-plugin", "probe")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["VERDICT", "OF", "PROMISE"]
    assert "kept     step acme.probe  it leaves nothing behind" in lines
    assert not [line for line in lines if line.startswith("BROKEN")]
    assert lines[-2].startswith("probe (acme 1.0): ")
    assert lines[-2].endswith(" promises kept, none broken")


def test_a_broken_promise_is_named_with_the_reason(run: Run, probe: Callable[[str], None]) -> None:
    probe("def info(self): print('hello'); return {'probe': self}")
    done = run("check-plugin", "probe", "--json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    (plugin,) = document["plugins"]
    assert (plugin["name"], plugin["dist"], plugin["version"]) == ("probe", "acme", "1.0")
    assert (document["kept"], document["broken"]) == (plugin["kept"], plugin["broken"])
    promises = {one["test"]: one for subject in plugin["subjects"] for one in subject["promises"]}
    broken = promises["test_info_fits_into_json_at_every_moment"]
    assert broken["kept"] is False
    assert "info() after create does not fit into JSON" in broken["why"]
    assert promises["test_it_leaves_nothing_behind"]["cases"] == 3
    assert promises["test_start_does_not_block"] == {
        "test": "test_start_does_not_block",
        "promise": "start does not block",
        "kept": True,
        "cases": 1,
        "why": "",
    }


def test_a_check_that_does_not_come_to_its_end_is_a_fault(run: Run, probe: Callable[[str], None]) -> None:
    probe("def start(self): import os, sys; print('no more', file=sys.stderr); os._exit(7)")
    done = run("check-plugin", "probe")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: the check of probe (acme 1.0) ended early, with code 7", "  no more"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("treads",), 2, "no plugin named 'treads' is installed; did you mean 'threads'?"),
        ((), 2, "no plugin was named"),
        (("future",), 3, "plugin future (future 1.0) cannot be used: incompatible"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    run: Run, site: Site, arguments: tuple[str, ...], code: int, said: str
) -> None:
    site.install("future", {"plugins": {"future": "future_module"}}, requires=("worker-kernel>=99",))
    done = run("check-plugin", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 5


def test_a_plugin_that_cannot_be_imported_breaks_a_promise(run: Run, site: Site) -> None:
    site.module("raises_module", "raise RuntimeError('boom')")
    site.install("raises", {"plugins": {"raises": "raises_module"}})
    done = run("check-plugin", "raises")
    assert done.returncode == 1, done.stderr
    assert "BROKEN: plugin raises: it can be used\n  plugin raises is broken: RuntimeError: boom" in done.stdout


def test_without_what_the_kit_is_written_with_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "pytest" else found(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find)
    assert kernel(["check-plugin", "threads"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: the conformance kit needs pytest, not installed here",
        "  install what it is written with: pip install 'worker-kernel[testing]'",
    ]


@pytest.mark.parametrize(
    ("plugin", "wanted"),
    [
        ("threads", [("plugin", "threads"), ("pool", "threads")]),
        ("hub", [("plugin", "hub"), ("step", "timer"), ("step", "hub"), ("hub", "hub")]),
        ("sqlite", [("plugin", "sqlite")]),
    ],
)
def test_each_thing_that_a_plugin_brings_has_a_contract(plugin: str, wanted: list[tuple[str, str]]) -> None:
    found = list(subjects(installed(), plugin))
    assert [(subject.kind, subject.name) for subject in found] == wanted
    assert all(subject.contract is not None for subject in found)


def test_a_step_that_takes_no_part_is_named_and_not_checked(run: Run, probe: Callable[[str], None]) -> None:
    probe("def enabled(self, worker): 'With --acme.'; return False")
    done = run("check-plugin", "probe")
    assert done.returncode == 0, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("unchecked"))
    assert "(With --acme.)" in line
    assert "KERNEL_" in line


def test_a_promise_is_the_sentence_that_its_test_is_called() -> None:
    verdict = Verdict(test="test_a_job_s_own_limits_win", cases=1)
    assert verdict.promise == "a job's own limits win"


class TestTheThreadsPlugin(PluginContract):
    plugin = "worker-pool-threads:threads"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_installed_pool_keeps_its_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker_kernel", "check-plugin", "--pools", "--json"],
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    names = {plugin["name"] for plugin in document["plugins"]}
    assert {"solo", "threads", "prefork", "gevent"} <= names
    assert (done.returncode, document["broken"]) == (0, 0), done.stdout
