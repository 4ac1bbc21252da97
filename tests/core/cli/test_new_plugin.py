"""``kernel new-plugin`` writes what can be read and built, and refuses what could not be."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from worker_kernel import CONTRACT, UsageError
from worker_kernel.cli.new_plugin import KINDS, TEMPLATES, checked_name, placed, templates, write

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_complete_and_can_be_parsed(kind: str, tmp_path: Path) -> None:
    written = write("acme-thing", kind, tmp_path / "there")
    names = {path.as_posix() for path in written}
    assert names >= {
        "pyproject.toml",
        "README.md",
        "src/acme_thing/__init__.py",
        "tests/test_contract.py",
        ".github/workflows/tests.yml",
    }
    for path in written:
        text = (tmp_path / "there" / path).read_text()
        assert text.endswith("\n")
        assert "{{acme" not in text
        if path.suffix == ".py":
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
            assert max(map(len, text.splitlines())) <= 120
    project = tomllib.loads((tmp_path / "there" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "acme-thing"
    assert "worker-kernel>=0.1,<1" in project["dependencies"]
    assert f"CONTRACT = {CONTRACT}\n" in (tmp_path / "there" / "src" / "acme_thing" / "__init__.py").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_in_a_template_is_left_open(kind: str) -> None:
    words = placed("acme-thing")
    for path, text in templates(kind):
        for word in set(text.split("{{")[1:]):
            name = word.partition("}}")[0]
            assert name in words or name.startswith(" "), f"{path}: {name}"  # with a space it is the CI's own


def test_there_is_a_folder_of_templates_for_each_kind() -> None:
    assert sorted(folder.name for folder in TEMPLATES.iterdir()) == sorted([*KINDS, "common"])


def test_a_name_is_normalised() -> None:
    assert checked_name("Acme_Probe") == "acme-probe"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("9lives", "no name for a distribution"),
        ("acme--pool", "no name for a distribution"),
        ("acme pool", "no name for a distribution"),
        ("../acme", "no name for a distribution"),
        ("", "no name for a distribution"),
        ("json", "Python keeps for itself"),
        ("class", "Python keeps for itself"),
        ("worker-pool-mine", "worker-kernel's own"),
        ("threads", "taken by pool threads"),
        ("worker-kernel", "worker-kernel's own"),
        ("processes", "taken by something that is installed"),
        ("kombu", "taken by something that is installed"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        checked_name(name)
    assert len(str(refused.value).splitlines()) == 2, "what is wrong, and what to do"


def test_the_command_writes_into_the_current_directory_and_says_how_to_go_on(run: Run, project: Path) -> None:
    done = run("new-plugin", "acme-pool", "--kind", "pool")
    assert done.returncode == 0, done.stderr
    assert (project / "acme-pool" / "src" / "acme_pool" / "pool.py").exists()
    assert "src/acme_pool/pool.py" in done.stdout
    assert "pip install --editable '.[test]'" in done.stdout


def test_nothing_is_overwritten(run: Run, project: Path) -> None:
    (project / "acme-pool").mkdir()
    (project / "acme-pool" / "precious").write_text("mine")
    done = run("new-plugin", "acme-pool", "--kind", "pool")
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            "error: acme-pool exists already, and nothing there is overwritten",
            "  name another place: --directory",
        ],
    )
    assert [path.name for path in (project / "acme-pool").iterdir()] == ["precious"]


def test_an_empty_directory_will_do(run: Run, project: Path) -> None:
    (project / "there").mkdir()
    assert run("new-plugin", "acme-pool", "--kind", "step", "--directory", "there").returncode == 0
    assert (project / "there" / "pyproject.toml").exists()


def test_a_kind_that_there_is_not_is_refused(run: Run) -> None:
    done = run("new-plugin", "acme-pool", "--kind", "poool")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
