"""``kernel graph`` draws the steps that a worker would start, in their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from worker_kernel import BlueprintName, StepCycle, StepSpec, UsageError
from worker_kernel.cli import graph
from worker_kernel.cli.graph import Drawing, command, document, explain
from worker_kernel.cli.invocation import Invocation
from worker_kernel.graph import resolve

STEPS = (
    StepSpec(name="timer", blueprint=BlueprintName.WORKER, factory="x:T", owner="worker-hub"),
    StepSpec(name="hub", blueprint=BlueprintName.WORKER, factory="x:H", owner="worker-hub", requires=("timer",)),
    StepSpec(name="pool", blueprint=BlueprintName.WORKER, factory="x:P", owner="worker-kernel", after=("hub", "timer")),
    StepSpec(
        name='acme."probe"',
        blueprint=BlueprintName.WORKER,
        factory="x:A",
        owner="acme",
        before=("pool",),
        after=("hub",),
    ),
    StepSpec(
        name="consumer",
        blueprint=BlueprintName.WORKER,
        factory="x:C",
        owner="worker-loops",
        requires=("pool",),
        last=True,
    ),
)
DRAWING = Drawing(name=BlueprintName.WORKER, order=resolve(STEPS), owners={step.name: step.owner for step in STEPS})


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command draw `DRAWING` whatever is installed."""
    monkeypatch.setattr(graph, "_worker", lambda *args, **kwargs: None)
    monkeypatch.setattr(graph, "_drawing", lambda name, worker: DRAWING)


def run(*arguments: str, code: int = 0, **invocation: Any) -> Result:
    result = CliRunner().invoke(command, arguments, obj=Invocation(**invocation))
    assert result.exit_code == code, result.output
    return result


@pytest.mark.usefixtures("drawn")
def test_the_text_numbers_the_steps_and_says_who_asked_for_what() -> None:
    assert run("--blueprint", "worker").stdout.splitlines() == [
        "worker:",
        "  1. timer         worker-hub",
        "  2. hub           worker-hub  requires timer",
        '  3. acme."probe"  acme  after hub',
        '  4. pool          worker-kernel  after hub, after timer, acme."probe" asked to be before it',
        "  5. consumer      worker-loops  requires pool, last",
    ]


@pytest.mark.usefixtures("drawn")
def test_dot_quotes_names_and_draws_each_arrow_once() -> None:
    lines = run("--blueprint", "worker", "--format", "dot").stdout.splitlines()
    assert lines[0] == "digraph kernel {"
    assert lines[-1] == "}"
    arrows = [line.strip() for line in lines if "->" in line]
    assert '"worker.acme.\\"probe\\"" -> "worker.pool" [label="before", style=dashed];' in arrows
    assert '"worker.pool" -> "worker.consumer" [label="requires"];' in arrows
    ends = [arrow.partition(" [")[0] for arrow in arrows]
    assert len(ends) == len(set(ends))


@pytest.mark.usefixtures("drawn")
def test_mermaid_goes_by_number_because_names_may_be_words_of_its_own() -> None:
    lines = [line.strip() for line in run("--blueprint", "worker", "--format", "mermaid").stdout.splitlines()]
    assert lines[0] == "flowchart LR"
    assert 'worker1["timer"]' in lines
    assert "worker1 -->|requires| worker2" in lines
    assert "worker3 -.->|before| worker4" in lines


@pytest.mark.usefixtures("drawn")
def test_json_is_alone_and_holds_every_edge_with_its_owner() -> None:
    said = json.loads(run("--blueprint", "worker", "--format", "json").stdout)
    assert said["schema"] == 1
    assert said["blueprints"] == document([DRAWING], "")["blueprints"]
    (worker,) = said["blueprints"]
    assert list(worker) == ["name", "steps", "waves", "edges"]
    assert [step["name"] for step in worker["steps"]] == list(DRAWING.order.names)
    assert worker["steps"][0] == {"name": "timer", "owner": "worker-hub"}
    assert {"first": "timer", "then": "hub", "kind": "requires", "owner": "worker-hub"} in worker["edges"]
    assert len(worker["edges"]) == len(DRAWING.order.edges)


def test_why_tells_what_a_step_waits_for_and_what_waits_for_it() -> None:
    assert explain("pool", [DRAWING]).splitlines() == [
        "pool of worker-kernel starts as number 4 of 5 in the worker blueprint",
        '  acme."probe" starts before pool (asked by acme)',
        "  pool starts after hub (asked by worker-kernel)",
        "  pool starts after timer (asked by worker-kernel)",
        "  consumer requires pool (asked by worker-loops)",
    ]


def test_why_of_a_step_without_edges_says_that_it_starts_by_name() -> None:
    alone = Drawing(name=BlueprintName.WORKER, order=resolve(STEPS[:1]), owners={"timer": "worker-hub"})
    assert explain("timer", [alone]).splitlines()[1:] == ["  nothing is said about its place: it starts by name"]


def test_why_of_an_unknown_step_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="no step 'pol' takes part; did you mean 'pool'"):
        explain("pol", [DRAWING])


def test_what_takes_part_depends_on_the_broker() -> None:
    def steps(url: str) -> list[str]:
        result = run("--blueprint", "worker", "--format", "json", settings={"broker_url": ("-b", url)})
        return [step["name"] for step in json.loads(result.stdout)["blueprints"][0]["steps"]]

    assert "hub" in steps("sqlite:///jobs.db")
    assert "hub" not in steps("sqlite:///jobs.db?hub=0")


def test_an_application_has_its_say(tmp_path: Path) -> None:
    (tmp_path / "acme_tasks.py").write_text(
        "from worker_kernel import App\n"
        "app = App('acme', broker_url='sqlite:///jobs.db?hub=0')\n"
        "@app.task\ndef add(a, b): return a + b\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "worker_kernel", "-A", "acme_tasks", "graph", "-P", "solo", "--blueprint", "worker"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["timer", "pool", "control", "consumer"]


def test_drawing_connects_to_nothing_and_opens_no_file(tmp_path: Path) -> None:
    run("-P", "solo")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_pool_ends_it() -> None:
    result = CliRunner().invoke(command, ["-P", "sol"], obj=Invocation())
    assert "did you mean 'solo'?" in str(result.exception)


def test_a_cycle_ends_it_with_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def cyclic(*args: object, **kwargs: object) -> object:
        return resolve(
            [*STEPS, StepSpec(name="x.y", blueprint=BlueprintName.WORKER, factory="x:Y", after=("consumer",))]
        )

    monkeypatch.setattr(graph, "_worker", cyclic)
    error = CliRunner().invoke(command, [], obj=Invocation()).exception
    assert isinstance(error, StepCycle)
    assert "x.y" in str(error)
    assert "consumer" in str(error)


@pytest.mark.timeout(300)
def test_the_order_is_the_same_for_20_hash_seeds(tmp_path: Path) -> None:
    printed = set()
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    for seed in range(20):
        done = subprocess.run(
            [sys.executable, "-m", "worker_kernel", "graph", "--format", "json"],
            env={**untraced, "PYTHONHASHSEED": str(seed)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        printed.add(done.stdout)
    (same,) = printed
    worker, consumer = json.loads(same)["blueprints"]
    assert [step["name"] for step in worker["steps"]] == ["timer", "hub", "pool", "control", "consumer"]
    assert [step["name"] for step in consumer["steps"]][-1] == "loop"
