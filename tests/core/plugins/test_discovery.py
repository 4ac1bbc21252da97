"""Discovery reads metadata only, and never raises because of what it reads."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker_kernel.plugins.discovery import discover
from worker_kernel.plugins.distributions import parse_entry_points
from worker_kernel.plugins.found import Found, Kind, Status

if TYPE_CHECKING:
    from ..conftest import Site

KERNEL = importlib.metadata.version("worker-kernel")


def found(site: Site, *more: Site) -> list[Found]:
    return list(discover([str(place.folder) for place in (site, *more)]))


def only(site: Site, *more: Site) -> Found:
    (row,) = found(site, *more)
    return row


def test_a_row_tells_what_the_metadata_says(site: Site) -> None:
    site.install("acme-pool", {"pools": {"acme": "acme_pool"}}, version="2.1")
    row = only(site)
    assert (row.name, row.kind, row.value) == ("acme", Kind.POOL, "acme_pool")
    assert (row.dist, row.version, row.summary) == ("acme-pool", "2.1", "The acme-pool of a test.")
    assert (row.status, row.reason, row.remedy) == (Status.READY, "", "")
    assert row.label == "acme (acme-pool 2.1)"


def test_the_group_tells_the_kind(site: Site) -> None:
    site.install("acme", {"pools": {"p": "a"}, "commands": {"c": "a:b"}, "plugins": {"x": "a.b"}, "other": {"o": "a"}})
    assert {row.name: row.kind for row in found(site)} == {"p": Kind.POOL, "c": Kind.COMMAND, "x": Kind.PLUGIN}


def test_a_patch_belongs_to_the_pool_of_its_name(site: Site) -> None:
    site.install("acme", {"pools": {"green": "acme"}, "patches": {"green": "acme.patch:run"}})
    assert only(site).patch == "acme.patch:run"


def test_a_patch_without_its_pool_is_broken(site: Site) -> None:
    site.install("acme", {"pools": {"green": "acme"}, "patches": {"gren": "acme.patch:run"}})
    rows = {row.name: row for row in found(site)}
    assert rows["green"].status is Status.READY
    assert rows["gren"].status is Status.BROKEN
    assert "no pool or plugin of acme" in rows["gren"].reason


def test_rows_are_sorted_by_normalised_distribution_then_name(site: Site) -> None:
    site.install("Zeta.Two", {"plugins": {"b": "m", "a": "m"}})
    site.install("acme_x", {"plugins": {"z": "m"}})
    site.install("acme-b", {"plugins": {"y": "m"}})
    assert [(row.dist, row.name) for row in found(site)] == [
        ("acme-b", "y"),
        ("acme_x", "z"),
        ("Zeta.Two", "a"),
        ("Zeta.Two", "b"),
    ]


def test_a_kernel_out_of_range_is_incompatible_and_says_both_versions(site: Site) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, requires=("Worker_Kernel >= 7.1, < 8",))
    row = only(site)
    assert row.status is Status.INCOMPATIBLE
    assert KERNEL in row.reason
    assert "<8,>=7.1" in row.reason
    assert "pip install --upgrade acme" in row.remedy


def test_a_python_out_of_range_is_incompatible(site: Site) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, extra="Requires-Python: >=9.9")
    assert only(site).status is Status.INCOMPATIBLE
    assert ">=9.9" in only(site).reason


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("no-such-library>=3", "no-such-library: not installed"),
        ("helper>=3", "helper 2.0 installed, needs >=3"),
    ],
)
def test_what_is_required_and_not_there_makes_it_unavailable(site: Site, requirement: str, reason: str) -> None:
    site.install("helper", version="2.0")
    site.install("acme", {"pools": {"acme": "acme"}}, requires=(requirement,))
    row = only(site)
    assert (row.status, row.reason) == (Status.UNAVAILABLE, reason)
    assert row.remedy == f"pip install '{requirement}'"


@pytest.mark.parametrize(
    "requirement",
    ["helper<3,>=2", "Helper", "no-such; extra == 'more'", "no-such; python_version < '3'", "helper[x] @ https://x/y"],
)
def test_what_is_there_or_not_needed_is_no_lack(site: Site, requirement: str) -> None:
    site.install("helper", version="2.0")
    site.install("acme", {"pools": {"acme": "acme"}}, requires=(requirement,))
    assert only(site).status is Status.READY


def test_the_gravest_lack_is_told(site: Site) -> None:
    requires = ("no-such-library", "worker-kernel>=7")
    site.install("acme", {"pools": {"acme": "acme"}}, requires=requires)
    assert only(site).status is Status.INCOMPATIBLE


def test_a_requirement_that_is_none_is_broken(site: Site) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, requires=("what is this",))
    assert only(site).status is Status.BROKEN
    assert "what is this" in only(site).reason


def test_an_editable_install_tells_where_it_comes_from(site: Site) -> None:
    record = json.dumps({"url": "file:///src/acme", "dir_info": {"editable": True}})
    site.install("acme", {"pools": {"acme": "acme"}}, files={"direct_url.json": record})
    assert (only(site).origin, only(site).editable) == ("/src/acme", True)


def test_an_origin_never_shows_a_password(site: Site) -> None:
    record = {"url": "https://me:secret@git.example/acme?t=1", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    site.install("acme", {"pools": {"acme": "acme"}}, files={"direct_url.json": json.dumps(record)})
    assert (only(site).origin, only(site).editable) == ("git+https://git.example/acme@abc", False)


@pytest.mark.parametrize("record", ["", "[]", "{", '{"url": 3}', '{"url": "file:///x", "dir_info": 4}'])
def test_a_malformed_origin_takes_nothing_from_a_plugin(site: Site, record: str) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, files={"direct_url.json": record})
    assert only(site).status is Status.READY


def test_metadata_without_a_version_is_broken_and_keeps_its_name(site: Site) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, version=None)
    row = only(site)
    assert (row.name, row.status, row.version) == ("acme", Status.BROKEN, "")
    assert "no version" in row.reason
    assert "pip install --force-reinstall acme" in row.remedy


def test_without_any_metadata_the_folder_gives_the_name(site: Site) -> None:
    (site.install("acme-x", {"pools": {"acme": "acme"}}) / "METADATA").unlink()
    row = only(site)
    assert (row.dist, row.status) == ("acme_x", Status.BROKEN)


@pytest.mark.parametrize(
    "text",
    [
        "worker_kernel.pools: what is this",
        "[worker_kernel.pools\nacme = acme\n",
        "[worker_kernel.pools]\nacme\n",
        "[worker_kernel.pools]\n= acme\n",
        "[worker_kernel.pools]\nacme = not a module!\n",
    ],
)
def test_malformed_entry_points_are_a_broken_row_for_the_distribution(site: Site, text: str) -> None:
    site.install("acme", text)
    row = only(site)
    assert (row.name, row.dist, row.status) == ("acme", "acme", Status.BROKEN)
    assert "entry_points.txt" in row.reason


def test_a_malformed_line_does_not_hide_the_others(site: Site) -> None:
    site.install("acme", "[worker_kernel.pools]\ngood = acme\nbad\n")
    row = only(site)
    assert (row.name, row.status) == ("good", Status.BROKEN)
    assert "line 3" in row.reason


def test_malformed_lines_of_other_groups_are_not_ours_to_judge(site: Site) -> None:
    site.install("acme", "[console_scripts]\nwhat is this\n[worker_kernel.pools]\nacme = acme [extra]\n")
    assert (only(site).status, only(site).value) == (Status.READY, "acme")


def test_files_that_are_not_text_make_a_broken_row(site: Site) -> None:
    site.install("acme", files={"entry_points.txt": b"[worker_kernel.pools]\nacme = \xff\xfe\n"})
    assert only(site).status is Status.BROKEN
    assert "not UTF-8" in only(site).reason


def test_metadata_that_is_not_text_makes_a_broken_row(site: Site) -> None:
    metadata = b"Metadata-Version: 2.1\nName: acme\nVersion: 1\nSummary: \xff\n"
    site.install("acme", {"pools": {"acme": "acme"}}, files={"METADATA": metadata})
    assert (only(site).name, only(site).status) == ("acme", Status.BROKEN)


def test_a_file_that_cannot_be_read_makes_a_broken_row(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # As root, permissions stop nobody: the file system refuses in another way.
    folder = site.install("acme", {"pools": {"acme": "acme"}})
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == folder / "entry_points.txt":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    row = only(site)
    assert (row.name, row.status) == ("acme", Status.BROKEN)
    assert "entry_points.txt cannot be read: PermissionError" in row.reason


def test_an_unreadable_distribution_that_does_not_know_us_is_no_row(site: Site) -> None:
    site.install("numbers", requires=("other",), files={"entry_points.txt": b"[console_scripts]\nx = \xff\n"})
    assert found(site) == []


def test_control_characters_in_metadata_do_not_reach_the_terminal(site: Site) -> None:
    metadata = "Metadata-Version: 2.1\nName: acme\nVersion: 1\nSummary: red \x1b[31malert\x07\n"
    site.install("acme", {"pools": {"acme": "acme"}}, files={"METADATA": metadata})
    assert only(site).summary == "red [31malert"


def test_one_distribution_twice_on_the_path_counts_once(site: Site, tmp_path: Path) -> None:
    from_elsewhere = type(site)(tmp_path / "elsewhere")
    for place, version in ((site, "2.0"), (from_elsewhere, "1.0")):
        place.install("acme", {"pools": {"acme": "acme"}}, version=version)
    assert only(site, from_elsewhere).version == "2.0"
    assert only(from_elsewhere, site).version == "1.0"
    assert len(found(site, site)) == 1


def test_within_one_folder_the_highest_sound_version_wins(site: Site) -> None:
    site.install("acme", {"pools": {"acme": "acme"}}, version="1.9")
    site.install("Acme", {"pools": {"acme": "acme"}}, version="1.10")
    (site.install("acme", {"pools": {"acme": "acme"}}, version="3") / "METADATA").unlink()
    assert (only(site).version, only(site).status) == ("1.10", Status.READY)


def test_an_earlier_distribution_without_plugins_hides_a_later_one_with(site: Site, tmp_path: Path) -> None:
    later = type(site)(tmp_path / "later")
    site.install("acme")
    later.install("acme", {"pools": {"acme": "acme"}})
    assert found(site, later) == []


def test_one_name_with_two_values_in_one_distribution_is_broken(site: Site) -> None:
    site.install("acme", "[worker_kernel.pools]\nacme = one\nacme = two\n")
    assert [(row.name, row.status) for row in found(site)] == [("acme", Status.BROKEN)] * 2


def test_one_line_repeated_counts_once(site: Site) -> None:
    site.install("acme", "[worker_kernel.pools]\nacme = one\nacme = one\n")
    assert only(site).status is Status.READY


def test_a_folder_of_the_path_that_is_not_there_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(discover([str(tmp_path / "no-such"), ""])) == []


def test_discovery_imports_no_plugin_and_no_library_of_theirs() -> None:
    heavy = ["kombu", "billiard", "gevent", "eventlet", "worker_hub", "worker_loops", "worker_pool_solo"]
    code = (
        "import sys; from worker_kernel.plugins.discovery import discover; rows = discover()\n"
        f"assert len(rows) >= 5, rows\nprint([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@settings(max_examples=50)
@given(st.text())
def test_no_text_of_entry_points_makes_the_parser_raise(text: str) -> None:
    entries, problems = parse_entry_points(text)
    assert all(entry.group.startswith("worker_kernel.") for entry in entries)
    assert all("\n" not in problem for problem in problems)


_name = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
_value = st.from_regex(r"[a-z_]{1,5}(\.[a-z_]{1,5})?(:[a-z_]{1,5})?", fullmatch=True)


@settings(max_examples=30)
@given(st.dictionaries(_name, _value), st.dictionaries(_name, _value))
def test_well_formed_entry_points_are_read_back(pools: dict[str, str], others: dict[str, str]) -> None:
    text = "[other]\n" + "".join(f"{name} = {value}\n" for name, value in others.items())
    text += "\n# pools\n[worker_kernel.pools]\n" + "".join(f"{name}={value}\n" for name, value in pools.items())
    entries, problems = parse_entry_points(text)
    assert {entry.name: entry.value for entry in entries} == pools
    assert problems == ()
