"""The demo in `examples/digest`: what the task computes, what the check catches, and all of it on real workers."""

import json
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

DIGEST = Path(__file__).parents[2] / "examples" / "digest"
STDLIB = Path(sysconfig.get_path("stdlib"))
FILES = ("abc.py", "json/decoder.py", "zipfile.py" if (STDLIB / "zipfile.py").exists() else "zipfile/__init__.py")
digesting = runpy.run_path(str(DIGEST / "digesting.py"))


def run(script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DIGEST / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_report(root: Path, report: Path) -> None:
    results = [digesting["digest_file"](root, path) for path in digesting["python_files"](root)]
    report.write_text(digesting["report_text"](results), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A few files of the real library, one that does not tokenize, and what must not count as source."""
    root = tmp_path / "lib"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(STDLIB / name, root / name)
    (root / "broken.py").write_bytes(b"# -*- coding: no-such-coding -*-\n")
    for name in ("site-packages/other.py", "json/__pycache__/decoder.py", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")
    return root


@pytest.fixture
def report(root: Path, tmp_path: Path) -> Path:
    report = tmp_path / "report.json"
    write_report(root, report)
    return report


def change_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_only_source_files_are_listed_in_an_order_that_is_always_the_same(root: Path) -> None:
    assert digesting["python_files"](root) == sorted([*FILES, "broken.py"])
    assert digesting["python_files"](root, 2) == ["abc.py", "broken.py"]


def test_the_library_is_listed_without_what_was_installed_into_it() -> None:
    paths = digesting["python_files"](STDLIB)
    assert len(paths) > 400
    assert {"abc.py", "json/decoder.py"} <= set(paths)
    assert not [path for path in paths if "site-packages" in path]


@pytest.mark.parametrize(
    "source",
    [b"# -*- coding: no-such-coding -*-\n", b"x = (\n", b"if x:\n        y\n    z\n", b"'\xff'\n"],
    ids=["coding", "unclosed", "dedent", "not-utf-8"],
)
def test_a_file_that_does_not_tokenize_is_digested_all_the_same(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(source)
    result = digesting["digest_file"](tmp_path, "bad.py")
    assert (result["tokens"], result["bytes"]) == (-1, len(source))
    write_report(tmp_path, tmp_path / "report.json")
    checked = run("check.py", "--root", tmp_path, tmp_path / "report.json")
    assert checked.returncode == 0, checked.stderr


def test_the_report_does_not_depend_on_the_order_of_the_results(root: Path) -> None:
    results = [digesting["digest_file"](root, path) for path in digesting["python_files"](root)]
    assert digesting["report_text"](results) == digesting["report_text"](results[::-1])


def test_the_check_agrees_with_what_the_task_computes(root: Path, report: Path) -> None:
    checked = run("check.py", "--root", root, report, report)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith(f"digests agree: 2 report(s), {len(FILES) + 1} files, ")


def test_the_check_uses_no_worker_code() -> None:
    imported = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-I", "-c", imported, str(DIGEST / "check.py")]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition(".")[0] for name in modules} & {"worker_kernel", "digesting", "tasks", "kombu", "click"}


def test_one_changed_byte_in_a_file_is_named(root: Path, report: Path) -> None:
    change_byte(root / "json/decoder.py", 1000)
    checked = run("check.py", "--root", root, report)
    assert checked.returncode == 1
    assert "json/decoder.py differs: " in checked.stderr
    assert len(checked.stderr.splitlines()) == 1


def test_one_changed_byte_anywhere_in_a_report_is_caught(root: Path, report: Path) -> None:
    check: dict[str, Any] = runpy.run_path(str(DIGEST / "check.py"))
    expected = check["expected_report"](str(root), None)
    right = report.read_bytes()
    assert check["first_difference"](expected, right) is None
    for at in range(len(right)):
        for flipped in (1, 0x80):
            wrong = right[:at] + bytes([right[at] ^ flipped]) + right[at + 1 :]
            difference = check["first_difference"](expected, wrong)
            assert difference, f"byte {at} of the report does not matter"
            assert "\n" not in difference


@pytest.mark.parametrize("field", ["bytes", "tokens", "compressed", "sha256"])
def test_a_changed_field_in_a_report_is_named_with_its_file(root: Path, report: Path, field: str) -> None:
    content = json.loads(report.read_text(encoding="utf-8"))
    content["files"][2][field] = "something else"
    report.write_text(json.dumps(content), encoding="utf-8")
    checked = run("check.py", "--root", root, report)
    assert checked.returncode == 1
    assert f"json/decoder.py differs: {field} is 'something else', should be " in checked.stderr


def test_a_file_missing_from_a_report_is_named(root: Path, report: Path) -> None:
    content = json.loads(report.read_text(encoding="utf-8"))
    del content["files"][1]
    report.write_text(json.dumps(content), encoding="utf-8")
    checked = run("check.py", "--root", root, report)
    assert checked.returncode == 1
    assert "broken.py is missing from the report" in checked.stderr


def test_one_wrong_report_among_right_ones_fails_the_check(root: Path, report: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.json"
    checked = run("check.py", "--root", root, report, absent)
    assert checked.returncode == 1
    assert checked.stderr.startswith(f"{absent}: cannot be read: ")


def test_the_demo_runs_on_every_pool_of_the_house_and_the_digests_agree() -> None:
    ran = run("demo.py", "--limit", 25, "--repeat", 2)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "solo: 25/25" in ran.stdout
    assert "threads: 25/25" in ran.stdout
    assert "prefork: 25/25" in ran.stdout
    assert "digests agree: 3 report(s), 25 files, " in ran.stdout


def test_the_demo_shows_the_end_of_the_log_of_a_worker_that_died() -> None:
    ran = run("demo.py", "--limit", 5, "--pools", "no-such-pool")
    assert ran.returncode == 1
    assert "the worker died (exit 2) with 0 of 1 done" in ran.stderr
    assert "  | " in ran.stderr
    assert "no-such-pool" in ran.stderr
