"""``kernel list-plugins`` answers whatever is installed: text for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from worker_kernel.cli import list_plugins
from worker_kernel.cli.invocation import Invocation
from worker_kernel.cli.list_plugins import Listed, command, document
from worker_kernel.plugins.found import Found, Kind, Status
from worker_kernel.plugins.probe import Probe, Verdict

GOLDEN = Path(__file__).parent / "golden" / "list_plugins.json"

ROWS = (
    Found(name="autoscale", kind=Kind.PLUGIN, value="worker_autoscale", dist="worker-autoscale", version="0.1.0"),
    Found(
        name="green",
        kind=Kind.POOL,
        value="acme_green",
        dist="acme-pool",
        version="2.0",
        summary="A pool.",
        patch="acme_green.patch:run",
        origin="/src/acme",
        editable=True,
        status=Status.INCOMPATIBLE,
        reason="worker-kernel 0.1.0 installed, needs >=7",
        remedy="pip install --upgrade acme-pool",
    ),
    Found(
        name="threads",
        kind=Kind.POOL,
        value="worker_pool_threads",
        dist="worker-pool-threads",
        version="0.1.0",
        status=Status.LOADED,
        reason="-P threads",
        declares={"hooks": ("kernel_pools",), "pools": ("threads",), "steps": ()},
    ),
    Found(name="dump", kind=Kind.COMMAND, value="acme.cli:dump", dist="zeta", version="1"),
)


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What discovery finds; a test may change it."""
    rows = list(ROWS)
    monkeypatch.setattr(list_plugins, "discover", lambda: tuple(rows))
    return rows


def run(*arguments: str, code: int = 0, **invocation: Any) -> Result:
    result = CliRunner().invoke(command, arguments, obj=Invocation(**invocation))
    assert (result.exit_code, result.exception if code == 0 else None) == (code, None), result.output
    return result


def listed(*arguments: str, code: int = 0, **invocation: Any) -> dict[str, dict[str, Any]]:
    document = json.loads(run("--json", *arguments, code=code, **invocation).stdout)
    assert document["schema"] == 1
    return {row["name"]: row for row in document["plugins"]}


def test_the_document_is_the_one_that_was_promised() -> None:
    probes = {"green": Probe(verdict=Verdict.KILLED, message="kills the interpreter: SIGSEGV")}
    probes["threads"] = Probe(verdict=Verdict.OK, seconds=0.25, modules=3, threads=0)
    said = document([Listed(found=row, probe=probes.get(row.name)) for row in ROWS], "0.1.0")
    # A change here is a change for everyone who reads it: keys may be added, none may go or change its meaning.
    assert json.dumps(said, indent=2) + "\n" == GOLDEN.read_text()


def test_the_text_is_aligned_and_says_why(installed: list[Found]) -> None:
    lines = run().stdout.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "VERSION", "FROM", "STATUS", "WHY"]
    assert len(lines) == 1 + len(ROWS)
    places = {name: lines[0].index(name) for name in ("KIND", "VERSION", "FROM", "STATUS")}
    green = next(line for line in lines if line.startswith("green"))
    assert green[places["KIND"] :].startswith("pool ")
    assert green[places["VERSION"] :].startswith("2.0 ")
    assert green[places["FROM"] :].startswith("acme-pool (editable, /src/acme) ")
    assert green[places["STATUS"] :].startswith("incompatible ")
    assert green.endswith(
        "worker-kernel 0.1.0 installed, needs >=7 (pip install --upgrade acme-pool); patches: acme_green.patch:run"
    )


def test_a_terminal_gets_every_cell_too(
    installed: list[Found], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command.main([], obj=Invocation(), standalone_mode=False)
    shown = capsys.readouterr().out
    for word in ("NAME", "green", "acme-pool (editable, /src/acme)", "incompatible", "needs >=7", "dump"):
        assert word in shown


def test_markup_in_metadata_is_shown_as_it_is(
    installed: list[Found], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.append(Found(name="x", kind=Kind.POOL, status=Status.BROKEN, reason="[red]boom[/blue]"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command.main([], obj=Invocation(), standalone_mode=False)
    assert "[red]boom[/blue]" in capsys.readouterr().out


def test_letters_that_the_terminal_does_not_have_do_not_end_the_list(installed: list[Found]) -> None:
    installed.append(Found(name="x", kind=Kind.POOL, status=Status.BROKEN, reason="größer ✓"))
    result = CliRunner(charset="ascii").invoke(command, [], obj=Invocation())
    assert result.exit_code == 0
    assert "gr??er ?" in result.stdout
    in_json = CliRunner(charset="ascii").invoke(command, ["--json"], obj=Invocation())
    assert "größer ✓" in {row["reason"] for row in json.loads(in_json.stdout)["plugins"]}


def test_one_kind_can_be_asked_for(installed: list[Found]) -> None:
    assert set(listed("--kind", "pool")) == {"green", "threads"}
    assert set(listed("--kind", "command")) == {"dump"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.READY, 0),
        (Status.UNAVAILABLE, 0),
        (Status.DISABLED, 0),
        (Status.BROKEN, 1),
        (Status.CONFLICT, 1),
        (Status.INCOMPATIBLE, 1),
    ],
)
def test_check_exits_with_1_for_faults_and_only_check_does(installed: list[Found], status: Status, code: int) -> None:
    installed[:] = [Found(name="x", kind=Kind.POOL, dist="x", value="x", status=status)]
    run("--check", code=code)
    run()


def test_check_fails_for_a_missing_plugin(installed: list[Found], monkeypatch: pytest.MonkeyPatch) -> None:
    installed[:] = []
    monkeypatch.setenv("KERNEL_PLUGINS", "+acme")
    assert listed("--check", code=1)["acme"]["status"] == "missing"
    assert listed()["acme"]["reason"] == "KERNEL_PLUGINS=+acme"


@pytest.mark.parametrize(
    ("arguments", "environ", "file", "reason"),
    [
        (("-P", "threads"), {}, "", "-P threads"),
        (("--pool=threads",), {"KERNEL_WORKER_POOL": "green"}, "", "-P threads"),
        ((), {"KERNEL_WORKER_POOL": "threads"}, 'worker_pool = "green"', "KERNEL_WORKER_POOL"),
        ((), {}, 'worker_pool = "threads"', "kernel.toml:1"),
        ((), {"KERNEL_PLUGINS": "+threads"}, "", "KERNEL_PLUGINS=+threads"),
    ],
)
def test_the_pool_that_a_worker_would_be_given_is_selected(
    installed: list[Found],
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    environ: dict[str, str],
    file: str,
    reason: str,
) -> None:
    installed[2] = Found(name="threads", kind=Kind.POOL, value="worker_pool_threads", dist="worker-pool-threads")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    Path("kernel.toml").write_text(file)
    row = listed(*arguments)["threads"]
    assert (row["status"], row["reason"]) == ("selected", reason)


def test_a_pool_that_is_not_installed_is_a_missing_row(installed: list[Found]) -> None:
    row = listed("-P", "thread")["thread"]
    assert (row["status"], row["kind"], row["reason"]) == ("missing", "pool", "-P thread")
    assert row["remedy"] == "did you mean 'threads'?"


def test_a_pool_that_is_named_by_its_class_is_no_row(installed: list[Found]) -> None:
    assert set(listed("-P", "own.pool:Mine")) == {row.name for row in ROWS}


def test_a_choice_that_cannot_be_understood_is_a_warning_here(
    installed: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNEL_PLUGINS", "threads,-nobody,-autoscale")
    result = run("--json")
    assert "KERNEL_PLUGINS=threads: expected" in result.stderr
    assert "KERNEL_PLUGINS=-nobody names no installed plugin" in result.stderr
    statuses = {row["name"]: row["status"] for row in json.loads(result.stdout)["plugins"]}
    assert statuses["autoscale"] == "disabled"


def test_safe_mode_disables_what_others_brought(installed: list[Found]) -> None:
    assert listed(safe_mode=True)["green"]["reason"] == "by --safe-mode"


def test_the_text_says_what_a_probe_told(installed: list[Found], monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "worker_autoscale": Probe(verdict=Verdict.OK, seconds=0.254, modules=3, threads=2),
        "worker_pool_threads": Probe(verdict=Verdict.KILLED, message="kills the interpreter: SIGSEGV"),
        "acme_green": Probe(verdict=Verdict.EXITS, message="exits at import with status 3"),
        "acme.cli:dump": Probe(verdict=Verdict.OK, seconds=0.01, modules=1, threads=0),
    }
    limits = []

    def fake(value: str, *, limit: float) -> Probe:
        limits.append(limit)
        return told[value]

    monkeypatch.setattr(list_plugins, "probe", fake)
    lines = {line.split()[0]: line for line in run("--probe", "--probe-limit", "2.5").stdout.splitlines()}
    assert lines["autoscale"].endswith("imported in 0.25 s, 3 modules, 2 threads")
    assert lines["dump"].endswith("imported in 0.01 s, 1 module")
    assert " broken kills the interpreter: SIGSEGV (" in " ".join(lines["threads"].split())
    assert lines["threads"].count("SIGSEGV") == 1
    assert "incompatible" in lines["green"]
    assert lines["green"].endswith("probe: exits at import with status 3")
    assert limits == [2.5] * 4


def test_the_limit_of_a_probe_is_more_than_nothing(installed: list[Found]) -> None:
    assert "--probe-limit" in run("--probe", "--probe-limit", "0", code=2).output


def test_the_object_is_a_click_command() -> None:
    assert isinstance(command, click.Command)
    assert command.name == "list-plugins"
