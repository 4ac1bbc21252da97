"""The pool is found before anything else is imported, and its patch runs for the worker only."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from worker_kernel.errors import PluginBroken
from worker_kernel.patching import calls_worker, effective_pool, hosted, patch, patch_for, with_pool


@pytest.mark.parametrize(
    ("argv", "pool"),
    [
        (["worker", "-P", "gevent"], "gevent"),
        (["worker", "-Pgevent"], "gevent"),
        (["worker", "--pool", "gevent"], "gevent"),
        (["worker", "--pool=gevent"], "gevent"),
        (["-A", "proj", "worker", "-P", "solo", "--pool=gevent"], "gevent"),
        (["worker", "-P"], None),
        (["worker", "--", "-P", "gevent"], None),
        (["worker", "-l", "INFO"], None),
    ],
)
def test_every_way_to_write_the_pool_is_seen(argv: Sequence[str], pool: str | None, tmp_path: Path) -> None:
    assert effective_pool(argv, {}, tmp_path) == pool


def test_the_command_line_comes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text('worker_pool = "file"\n')
    environ = {"KERNEL_WORKER_POOL": "environment"}
    assert effective_pool(["worker", "-P", "line"], environ, tmp_path) == "line"
    assert effective_pool(["worker"], environ, tmp_path) == "environment"
    assert effective_pool(["worker"], {}, tmp_path) == "file"
    (tmp_path / "kernel.toml").write_text("worker_pool = 3\n")
    assert effective_pool(["worker"], {}, tmp_path) is None


@pytest.mark.parametrize(
    ("argv", "calls"),
    [
        (["worker"], True),
        (["-A", "worker", "worker", "-P", "x"], True),
        (["--app=worker", "--broker", "x://", "worker"], True),
        (["-A", "worker", "list-plugins"], False),
        (["list-plugins", "worker"], False),
        (["worker", "--help"], False),
        (["--help"], False),
        ([], False),
    ],
)
def test_only_the_command_worker_calls_for_a_patch(argv: Sequence[str], calls: bool) -> None:
    assert calls_worker(argv) is calls


def install(site: Path, name: str, source: str, entry: str) -> None:
    """Write a distribution with one patch."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[worker_kernel.patches]\n{entry}\n")
    (site / f"{name}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on ``sys.path`` for distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_patch_of_the_pool_is_run(site: Path, tmp_path: Path) -> None:
    install(site, "wk_patch_one", "done = []\ndef run(): done.append(1)\n", "fakegreen = wk_patch_one:run")
    assert patch_for(["worker", "-P", "fakegreen"], {}, tmp_path) == "fakegreen"
    assert sys.modules["wk_patch_one"].done == [1]
    assert patch_for(["worker", "-P", "wk-patch-one:fakegreen"], {}, tmp_path) == "wk-patch-one:fakegreen"
    assert patch_for(["worker", "-P", "another:fakegreen"], {}, tmp_path) == ""


def test_a_pool_without_a_patch_needs_none(tmp_path: Path) -> None:
    assert patch_for(["worker", "-P", "threads"], {}, tmp_path) == ""
    assert patch_for(["worker"], {}, tmp_path) == ""
    assert patch("threads") is False


@pytest.mark.parametrize(
    ("arguments", "words", "configured"),
    [
        ([], "x,-fakeoff", ""),
        ([], "", 'plugins = ["-fakeoff"]'),
        ([], "", 'plugins = "-fakeoff"'),
        ([], "-fakeoff", 'plugins = ["+fakeoff"]'),
        (["--safe-mode"], "", ""),
    ],
)
def test_a_disabled_plugin_is_not_imported_for_its_patch(
    arguments: list[str], words: str, configured: str, site: Path, tmp_path: Path
) -> None:
    install(site, "wk_patch_off", "raise RuntimeError\n", "fakeoff = wk_patch_off:run")
    (tmp_path / "kernel.toml").write_text(configured)
    assert patch_for(["worker", "-P", "fakeoff", *arguments], {"KERNEL_PLUGINS": words}, tmp_path) == ""


def test_a_plugin_that_a_later_word_takes_back_is_patched_for(site: Path, tmp_path: Path) -> None:
    install(site, "wk_patch_back", "def run(): pass\n", "fakeback = wk_patch_back:run")
    (tmp_path / "kernel.toml").write_text('plugins = ["-fakeback"]')
    assert patch_for(["worker", "-P", "fakeback"], {"KERNEL_PLUGINS": "+fakeback"}, tmp_path) == "fakeback"


def test_of_two_claimants_neither_is_run(site: Path, tmp_path: Path) -> None:
    for name in ("wk_patch_a", "wk_patch_b"):
        install(site, name, "raise RuntimeError\n", f"faketwo = {name}:run")
    assert patch_for(["worker", "-P", "faketwo"], {}, tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("wk_patch_raises", "raise RuntimeError('boom')\n"),
        ("wk_patch_exits", "import sys\ndef run(): sys.exit(0)\n"),
        ("wk_patch_number", "run = 1\n"),
    ],
)
def test_a_patch_that_raises_is_a_broken_plugin(site: Path, name: str, source: str) -> None:
    install(site, name, source, f"fakebad = {name}:run")
    with pytest.raises(PluginBroken, match=f"the patch {name}:run of {name} 1.0 for pool 'fakebad' raised"):
        patch("fakebad")


def test_the_patch_runs_before_anything_else_is_imported(site: Path) -> None:
    source = (
        "import sys\n"
        "def run():\n"
        "    foreign = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "    print(sorted(name for name in foreign if name in ('attr', 'attrs', 'click', 'kombu', 'packaging')))\n"
    )
    install(site, "wk_patch_first", source, "fakefirst = wk_patch_first:run")
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['kernel', 'worker', '-P', 'fakefirst']\n"
        "from worker_kernel.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=site, check=False
    )
    assert done.stdout.splitlines()[0] == "[]"


@pytest.mark.parametrize(
    ("argv", "environ", "file"),
    [
        (["worker", "-P", "fakehost", "--processes", "2"], {}, ""),
        (["worker", "-P", "fakehost", "--processes=2"], {}, ""),
        (["worker", "-P", "fakehost"], {"KERNEL_WORKER_PROCESSES": "2"}, ""),
        (["worker", "-P", "fakehost"], {}, "worker_processes = 2\n"),
    ],
    ids=["--processes 2", "--processes=2", "environment", "file"],
)
def test_a_worker_whose_tasks_run_in_other_processes_is_not_patched(
    argv: Sequence[str], environ: dict[str, str], file: str, site: Path, tmp_path: Path
) -> None:
    install(site, "wk_patch_host", "raise RuntimeError\n", "fakehost = wk_patch_host:run")
    (tmp_path / "kernel.toml").write_text(file)
    assert hosted(argv, environ, tmp_path)
    assert patch_for(argv, environ, tmp_path) == ""
    assert not hosted(["worker", "-P", "fakehost"], {}, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["worker", "-A", "x"], ["worker", "-P", "green", "-A", "x"]),
        (["-A", "worker", "worker", "--", "y"], ["-A", "worker", "worker", "-P", "green", "--", "y"]),
        (["--app=x", "worker"], ["--app=x", "worker", "-P", "green"]),
    ],
)
def test_the_pool_is_added_where_it_counts(argv: Sequence[str], expected: list[str]) -> None:
    assert with_pool(argv, "green") == expected


KEEPS = """
import sys, warnings
sys.path.insert(0, {site!r})
{before}
import worker_kernel
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    worker_kernel.patch("fakesleep")
print([str(warning.message) for warning in caught if warning.category is RuntimeWarning])
"""
PATCHES_SLEEP = "import time\ndef run():\n    time.sleep = lambda seconds: None\n"


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ("import wk_early", "['imported before the patch of pool fakesleep, and not patched for that reason: "),
        ("import wk_late_bound", "[]"),
        ("", "[]"),
    ],
    ids=["by name", "by module", "nothing"],
)
def test_what_keeps_something_unpatched_is_named(before: str, named: str, site: Path) -> None:
    install(site, "wk_patch_sleep", PATCHES_SLEEP, "fakesleep = wk_patch_sleep:run")
    (site / "wk_early.py").write_text("from time import sleep\n")
    (site / "wk_late_bound.py").write_text("import time\n")
    done = subprocess.run(
        [sys.executable, "-c", KEEPS.format(site=str(site), before=before)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith(named), done.stdout + done.stderr
    assert ("wk_early (time.sleep)" in done.stdout) is ("wk_early" in before)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_the_command_line_itself_keeps_nothing_unpatched(library: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"no {library}")
    code = (
        "import warnings; warnings.simplefilter('error', RuntimeWarning)\n"
        "from pathlib import Path\nfrom worker_kernel.patching import patch_for\n"
        f"print(patch_for(['worker', '-P', {library!r}], {{}}, Path()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == library, done.stderr
