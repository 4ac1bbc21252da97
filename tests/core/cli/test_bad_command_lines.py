"""Each mistake a user can make: at most five lines that say what, why and what to do, and the right exit code."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..conftest import Site

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HEAD = "import worker_kernel as wk\nCONTRACT = 1\n"
STEPS = (
    HEAD
    + """
@wk.implements(wk.kernel_steps)
def steps():
    return [
        wk.StepSpec(name=name, blueprint=wk.BlueprintName.WORKER, factory="worker_kernel:Step", requires=requires)
        for name, requires in {steps}.items()
    ]
"""
)
POOL = (
    HEAD
    + """
@wk.implements(wk.kernel_pools)
def pools():
    return [wk.PoolSpec(name="acme", cls="acme_one:Pool", capabilities=wk.Capabilities())]
"""
)


def lines_of_error(done: subprocess.CompletedProcess[str], code: int) -> list[str]:
    """The error's lines, after those of the banner and of warnings."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("error: "))
    assert len(lines) - begin <= 5
    return lines[begin:]


@pytest.mark.parametrize(
    ("arguments", "code", "golden"),
    [
        (
            "-P treads",
            2,
            ["error: no pool named 'treads' is installed; did you mean 'threads'?", "  pools installed: *"],
        ),
        (
            "-P solo --autoscale 4,2",
            2,
            ["error: --autoscale 4,2 is refused: solo cannot resize", "  pools installed that can: *"],
        ),
        (
            "-P solo -c 3",
            2,
            ["error: -c 3 is refused: solo runs one task at a time", "  pools installed that can: *"],
        ),
        ("-c 0", 2, ["error: worker_concurrency (-c): expected a whole number >= 1, or auto, or none, got '0'"]),
        ("-c many", 2, ["error: worker_concurrency (-c): expected a whole number >= 1, or auto, or none, got 'many'"]),
        (
            "--prefetch-multiplier 0",
            2,
            [
                "error: worker_prefetch_multiplier (--prefetch-multiplier): expected a whole number >= 1 (Celery's *",
            ],
        ),
        (
            "-B",
            2,
            [
                "error: -B is refused: no installed plugin provides the step 'beat'",
                "  leave it out, or downgrade this to a warning with --best-effort",
            ],
        ),
        (
            "--pidfile x",
            2,
            [
                "error: --pidfile x is refused: run the worker under a supervisor (systemd, a container), *",
                "  leave it out, or downgrade this to a warning with --best-effort",
            ],
        ),
        ("--never", 2, ["error: No such option*", "  kernel worker --help says what there is"]),
        ("-c", 2, ["error: Option '-c' requires an argument.", "  kernel --help says what there is"]),
        (
            "-b amqp://localhost:1//",
            5,
            ["error: the broker at amqp://localhost:1// cannot be reached: *", "  *"],
        ),
        (
            "--result-backend nowhere://x",
            2,
            ["error: there is no result store for nowhere://*", "  *"],
        ),
        ("-b nowhere://u:geheim@x", 2, ["error: no transport serves the broker scheme 'nowhere'*", "  *"]),
    ],
)
def test_a_bad_worker_command_line(arguments: str, code: int, golden: list[str], run: Run) -> None:
    done = run("worker", "-A", "tasks", *arguments.split())
    assert "geheim" not in done.stderr
    assert_golden(lines_of_error(done, code), golden)


def assert_golden(lines: list[str], golden: list[str]) -> None:
    """Compare line by line; a ``*`` at the end of a golden line stands for whatever comes there."""
    assert len(lines) == len(golden), lines
    for line, wanted in zip(lines, golden, strict=True):
        assert line == wanted or (wanted.endswith("*") and line.startswith(wanted[:-1])), line


@pytest.mark.parametrize(
    ("source", "name", "golden"),
    [
        ("", "never", ["error: -A never: there is no module 'never'", "  in * there are: mistaken, tasks"]),
        (
            "1 / 0\n",
            "mistaken",
            [
                "error: -A mistaken: importing 'mistaken' raised ZeroDivisionError: division by zero (mistaken.py:1)",
                "  mend it, or see the whole traceback with --traceback",
            ],
        ),
        (
            "import sys\nsys.exit(0)\n",
            "mistaken",
            [
                "error: -A mistaken: importing 'mistaken' raised SystemExit: 0 (mistaken.py:2)",
                "  mend it, or see the whole traceback with --traceback",
            ],
        ),
        ("x = 1\n", "mistaken", ["error: -A mistaken: no application in mistaken", "  make one there: *"]),
        (
            "from worker_kernel import App\napp = App('empty')\n",
            "mistaken",
            [
                "error: -A mistaken: the application 'empty' has no tasks: no @app.task was found",
                "  name the modules with tasks in worker_include (-I), or import them where the application is made",
            ],
        ),
    ],
)
def test_an_application_that_does_not_load(source: str, name: str, golden: list[str], run: Run, project: Path) -> None:
    (project / "mistaken.py").write_text(source)
    lines = lines_of_error(run("worker", "-A", name), 4)
    assert_golden(lines, [line.split("*")[0] + "*" if "*" in line else line for line in golden])


def test_no_application_at_all(run: Run) -> None:
    lines = lines_of_error(run("worker"), 2)
    assert lines == [
        "error: no application was named",
        "  name it with -A module or -A module:app, or in KERNEL_APP",
    ]


def test_async_tasks_on_a_pool_that_cannot_run_them(run: Run, project: Path) -> None:
    with (project / "tasks.py").open("a") as file:
        file.write("@app.task\nasync def later():\n    pass\n")
    lines = lines_of_error(run("worker", "-A", "tasks", "-P", "solo"), 2)
    assert lines[0] == "error: async def of task tasks.later is refused: solo cannot run async def tasks"


def test_unknown_settings_of_every_place_at_once(run: Run, project: Path) -> None:
    (project / "kernel.toml").write_text("\nworker_concurency = 2\n")
    (project / "tasks.py").write_text((project / "tasks.py").read_text().replace('"proj"', '"proj", worker_gracee=1'))
    lines = lines_of_error(run("worker", "-A", "tasks", KERNEL_WORKER_POOOL="x"), 2)
    assert lines == [
        "error: unknown setting worker_gracee (App('proj')); did you mean worker_grace?",
        "  unknown setting worker_concurency (kernel.toml:2); did you mean worker_concurrency?",
    ]


def test_a_task_that_does_not_exist(run: Run) -> None:
    lines = lines_of_error(run("call", "-A", "tasks", "tasks.ad"), 2)
    assert lines == ["error: application 'proj' has no task 'tasks.ad'", "  did you mean 'tasks.add'?"]


def test_two_plugins_claiming_one_name(run: Run, site: Site) -> None:
    site.module("acme_one", POOL)
    site.install("acme-one", {"pools": {"acme": "acme_one"}})
    site.module("acme_two", POOL)
    site.install("acme-two", {"pools": {"acme": "acme_two"}})
    lines = lines_of_error(run("worker", "-A", "tasks", "-P", "acme"), 3)
    assert "acme-one 1.0" in lines[0]
    assert "acme-two 1.0" in lines[0]
    assert lines[1] == "  pick one: KERNEL_PLUGINS=+acme-one:acme"


def test_a_pool_that_is_broken(run: Run, site: Site) -> None:
    site.module("acme_one", "raise RuntimeError('boom')\n")
    site.install("acme-one", {"pools": {"acme": "acme_one"}})
    lines = lines_of_error(run("worker", "-A", "tasks", "-P", "acme"), 3)
    assert "RuntimeError: boom" in lines[0]
    told = run("worker", "-A", "tasks", "-P", "acme", "--traceback")
    assert "Traceback" in told.stderr
    assert told.returncode == 3


def test_a_pool_for_another_kernel(run: Run, site: Site) -> None:
    site.module("acme_one", POOL)
    site.install("acme-one", {"pools": {"acme": "acme_one"}}, requires=("worker-kernel>=9",))
    lines = lines_of_error(run("worker", "-A", "tasks", "-P", "acme"), 3)
    assert "incompatible" in lines[0]


def test_a_cycle_of_steps(run: Run, site: Site) -> None:
    steps = {"acme.a": ("acme.b",), "acme.b": ("acme.a",)}
    site.module("acme_steps", STEPS.replace("{steps}", repr(steps)))
    site.install("acme-steps", {"plugins": {"steps": "acme_steps"}})
    lines = lines_of_error(run("worker", "-A", "tasks"), 3)
    assert lines[0] == "error: steps wait for each other: acme.a -> acme.b -> acme.a"
    assert "acme-steps" in "".join(lines[1:])


def test_a_missing_requirement(run: Run, site: Site) -> None:
    steps = {"acme.a": ("acme.never",)}
    site.module("acme_steps", STEPS.replace("{steps}", repr(steps)))
    site.install("acme-steps", {"plugins": {"steps": "acme_steps"}})
    lines = lines_of_error(run("worker", "-A", "tasks"), 3)
    assert "'acme.never'" in lines[0]
    assert "acme-steps" in lines[0]


def test_an_option_of_a_plugin_that_does_not_load_is_not_merely_unknown(run: Run, site: Site) -> None:
    site.module("acme_one", "raise RuntimeError('boom')\n")
    site.install("acme-one", {"plugins": {"acme": "acme_one"}})
    lines = lines_of_error(run("worker", "-A", "tasks", "--acme-port", "1"), 2)
    assert "plugins that are not loaded may have it: acme (acme-one 1.0)" in "".join(lines)


def test_an_unknown_setting_of_a_plugin_that_is_not_loaded_names_the_plugin(run: Run, project: Path) -> None:
    (project / "kernel.toml").write_text("worker_autoscale_keepalive = 5\n")
    assert lines_of_error(run("worker", "-A", "tasks", KERNEL_PLUGINS="-autoscale"), 2) == [
        "error: unknown setting worker_autoscale_keepalive (kernel.toml:1); did you mean worker_autoscale?",
        "  plugins that are not loaded may have it: autoscale (worker-autoscale 0.1.0)",
    ]


def test_an_unknown_command_is_answered_with_the_nearest(run: Run) -> None:
    lines = lines_of_error(run("wroker"), 2)
    assert lines == [
        "error: there is no command 'wroker'; did you mean 'worker'?",
        "  kernel --help says what there is",
    ]


def test_with_traceback_the_cause_is_shown_and_the_code_stays(run: Run, project: Path) -> None:
    (project / "mistaken.py").write_text("1 / 0\n")
    for arguments in (("--traceback", "worker", "-A", "mistaken"), ("worker", "-A", "mistaken", "--traceback")):
        done = run(*arguments)
        assert done.returncode == 4
        assert "Traceback" in done.stderr
        assert "ZeroDivisionError" in done.stderr
