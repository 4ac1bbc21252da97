"""The configuration file of a directory is found, and its keys know their lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from worker_kernel import configfile


def test_there_need_be_none(tmp_path: Path) -> None:
    assert configfile.read(tmp_path) == configfile.ConfigFile("", {}, {})


def test_kernel_toml_is_read_with_the_line_of_each_key(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text('# a comment\nworker_pool = "solo"\n\n[broker_transport_options]\na = 1\n')
    file = configfile.read(tmp_path)
    assert file.values == {"worker_pool": "solo", "broker_transport_options": {"a": 1}}
    assert file.location("worker_pool") == "kernel.toml:2"
    assert file.location("broker_transport_options") == "kernel.toml:4"
    assert file.location("never") == "kernel.toml"


def test_a_table_of_pyproject_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\nworker_grace = 1\n[tool.kernel]\nworker_grace = 5\n"
        "[tool.kernel.broker_transport_options]\na = 1\n[tool.other]\nworker_pool = 'x'\n"
    )
    file = configfile.read(tmp_path)
    assert file.values == {"worker_grace": 5, "broker_transport_options": {"a": 1}}
    assert file.location("worker_grace") == "pyproject.toml:5"
    assert file.location("broker_transport_options") == "pyproject.toml:6"


def test_of_two_files_the_own_one_is_read_and_the_other_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.kernel]\nworker_grace = 5\n")
    (tmp_path / "kernel.toml").write_text("worker_grace = 6\n")
    file = configfile.read(tmp_path)
    assert file.values == {"worker_grace": 6}
    assert file.warnings == ("[tool.kernel] in pyproject.toml is not read: kernel.toml is there",)


def test_a_file_that_is_no_toml_is_a_problem_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text("worker_pool = solo\n")
    (problem,) = configfile.read(tmp_path).problems
    assert problem.startswith("kernel.toml cannot be read: ")
    assert "line 1" in problem


def test_a_broken_pyproject_is_a_problem_only_if_it_has_a_table_for_us(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project\n")
    assert not configfile.read(tmp_path).problems
    assert configfile.read(tmp_path).warnings
    path.write_text("[project\n[tool.kernel]\n")
    assert configfile.read(tmp_path).problems


def test_a_table_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool.kernel = 3\n")
    assert configfile.read(tmp_path).problems == ("tool.kernel is no table (pyproject.toml)",)


def test_what_has_its_name_and_is_no_file_is_a_problem(tmp_path: Path) -> None:
    own = tmp_path / "kernel.toml"
    own.mkdir()
    told = ("kernel.toml cannot be read: it is no file, nor a link to one",)
    assert configfile.read(tmp_path).problems == told
    own.rmdir()
    own.symlink_to(tmp_path / "nowhere")
    assert configfile.read(tmp_path).problems == told
    own.unlink()
    own.symlink_to(os.devnull)
    assert configfile.read(tmp_path) == configfile.ConfigFile("", {}, {})


def test_a_file_nested_too_deeply_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text(f"a = {'[' * 100_000}")
    (problem,) = configfile.read(tmp_path).problems
    assert problem.startswith("kernel.toml cannot be read: ")


def test_reading_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import worker_kernel.patching\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'worker_kernel'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
