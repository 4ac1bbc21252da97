"""The table of commands, within one process."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from worker_kernel.cli.main import BUILTINS, command, run
from worker_kernel.errors import PluginBroken
from worker_kernel.plugins.importing import import_value


@pytest.fixture(autouse=True)
def somewhere_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", list(BUILTINS))
def test_every_command_of_the_table_exists_and_is_described(name: str) -> None:
    found = import_value(BUILTINS[name].path)
    assert isinstance(found, click.Command)
    assert found.name == name
    assert found.help
    assert BUILTINS[name].summary.endswith(".")


@pytest.mark.parametrize("name", list(BUILTINS))
def test_every_command_takes_the_shared_options_once(name: str) -> None:
    with click.Context(command) as ctx:
        found = command.get_command(ctx, name)
        assert found is not None
        with click.Context(found, parent=ctx) as inner:
            spellings = [spelling for param in found.get_params(inner) for spelling in param.opts]
    assert len(set(spellings)) == len(spellings)
    assert {"-A", "--app", "-b", "--broker", "--result-backend", "--safe-mode", "--traceback"} <= set(spellings)


def test_a_command_is_not_changed_by_being_looked_up() -> None:
    original = import_value(BUILTINS["pools"].path)
    assert isinstance(original, click.Command)
    before = list(original.params)
    with click.Context(command) as ctx:
        assert command.get_command(ctx, "pools") is not original
    assert original.params == before


def test_version_and_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"kernel {version('worker-kernel')}\n"
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in BUILTINS)


def test_without_a_command_the_help_is_told_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage: kernel" in capsys.readouterr().err


def test_what_the_patch_phase_raised_is_told_in_place_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker"], failure=PluginBroken("the patch raised")) == 3
    assert capsys.readouterr().err == "error: the patch raised\n"


def test_machine_output_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["settings", "--json"], ["pools", "--json"]):
        assert run(arguments) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["schema"], document["kernel"]) == (1, version("worker-kernel"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["wroker"], 2),
        (["worker"], 2),
        (["worker", "--never"], 2),
        (["worker", "-A", "wk_nowhere"], 4),
        (["settings", "--never"], 2),
        (["-b"], 2),
    ],
)
def test_each_mistake_has_its_exit_code(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 5


def test_the_workers_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--concurrency" in out
    assert "--pidfile" not in out, "what is never honoured is not offered"


def test_nothing_of_a_run_is_kept_for_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-b", "memory://first", "settings", "--json", "--given"]) == 0
    assert run(["settings", "--json", "--given"]) == 0
    _, second = capsys.readouterr().out.split("\n}\n", 1)
    assert json.loads(second)["settings"] == []
    assert not any(name.startswith("KERNEL_") for name in os.environ)
