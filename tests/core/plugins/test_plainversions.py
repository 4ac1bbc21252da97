"""Requirements of plain numbers are judged as `packaging` judges them; all others are left to it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from worker_kernel.plugins.plainversions import holds, normalized, of_extra, plain

releases = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
clauses = st.tuples(st.sampled_from([">=", "<=", "==", "!=", ">", "<"]), releases).map("".join)


@given(st.lists(clauses, min_size=1, max_size=3).map(", ".join), releases)
def test_plain_versions_are_judged_as_packaging_judges_them(specifiers: str, version: str) -> None:
    assert holds(specifiers, version) is SpecifierSet(specifiers).contains(Version(version), prereleases=True)


@pytest.mark.parametrize(
    ("specifiers", "version"),
    [
        ("~=1.2", "1.3"),
        ("==1.*", "1.3"),
        ("===1.0", "1.0"),
        (">=1.0rc1", "1.0"),
        (">=1", "1.0.dev3"),
        (">=1", ""),
        ("", "1"),
    ],
)
def test_what_is_not_plain_is_not_judged(specifiers: str, version: str) -> None:
    assert holds(specifiers, version) is None


@pytest.mark.parametrize(
    "line",
    ["kombu<5.8,>=5.7", "attrs >= 24.2", "click", "a (>=1)", "redis[hiredis]<9,>=6.4", "Worker_Kernel.x>=0.1 , <1"],
)
def test_a_plain_line_is_read_as_packaging_reads_it(line: str) -> None:
    found = plain(line)
    assert found is not None
    requirement = Requirement(line)
    assert (found[0], SpecifierSet(found[1])) == (requirement.name, requirement.specifier)


@pytest.mark.parametrize(
    "line",
    ["a~=1.0", "a; python_version < '3'", "a @ https://a.example/a.whl", "a>=1.0b1", "a b", "-a", "", "a>=1,,<2"],
)
def test_a_line_that_is_not_plain_is_left_to_packaging(line: str) -> None:
    assert plain(line) is None


@pytest.mark.parametrize(
    ("line", "is_so"),
    [
        ("msgspec>=0.19; extra == 'fast'", True),
        ('msgspec>=0.19 ; extra == "fast"', True),
        ("a; extra == 'x' and python_version < '3'", False),
        ("a; extra == ''", False),
        ("a; 'x' == extra", False),
        ("a", False),
    ],
)
def test_only_what_surely_is_for_an_extra_alone_is_left_out(line: str, is_so: bool) -> None:
    assert of_extra(line) is is_so
    if is_so:
        marker = Requirement(line).marker
        assert marker is not None
        assert not marker.evaluate({"extra": ""})


@given(st.text("aZ0-_.", min_size=1))
def test_names_are_normalised_as_by_packaging(name: str) -> None:
    assert normalized(name) == canonicalize_name(name)


def test_what_is_installed_here_is_found_without_packaging() -> None:
    statement = "import sys; from worker_kernel.plugins.discovery import discover; print(len(discover())); "
    done = subprocess.run(
        [sys.executable, "-c", statement + "sys.exit('packaging' in sys.modules)"], timeout=60, check=False
    )
    assert done.returncode == 0
