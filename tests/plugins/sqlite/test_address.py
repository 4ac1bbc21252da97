from __future__ import annotations

from pathlib import Path

import pytest

from worker_broker_sqlite.address import Address, InvalidUrl


def test_three_slashes_are_relative_to_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address.from_url("sqlite:///sub/jobs.db").path == str(tmp_path / "sub" / "jobs.db")


def test_four_slashes_are_absolute() -> None:
    assert Address.from_url("sqlite:////srv/my%20jobs.db").path == "/srv/my jobs.db"


def test_links_are_resolved_so_that_all_processes_agree_on_the_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Address.from_url(f"sqlite:///{tmp_path}/link/jobs.db").path == str(tmp_path / "real" / "jobs.db")


def test_the_options_have_defaults() -> None:
    address = Address.from_url("sqlite:///jobs.db")
    assert (address.lease, address.busy_timeout) == (30.0, 30.0)


@pytest.mark.parametrize("mark", ["?", "%3F"])
def test_options_come_in_the_query_also_as_kombus_failover_passes_it(mark: str) -> None:
    address = Address.from_url(f"sqlite:////x.db{mark}lease=2.5&busy_timeout=0&hub=0")
    assert (address.path, address.lease, address.busy_timeout) == ("/x.db", 2.5, 0.0)


def test_the_query_wins_over_transport_options_and_others_are_ignored() -> None:
    address = Address.from_url("sqlite:////x.db?lease=2", {"lease": 9, "busy_timeout": 1, "max_retries": 3})
    assert (address.lease, address.busy_timeout) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://jobs.db", "sqlite:///relative.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "share only a file"),
        ("/", "names no file"),
        ("sqlite:///x.db?leese=2", "did you mean 'lease'"),
        ("sqlite:///x.db?zzz=2", "known are busy_timeout, lease"),
        ("sqlite:///x.db?lease=soon", "'soon'"),
        ("sqlite:///x.db?lease=", "number of seconds above 0"),
        ("sqlite:///x.db?lease=0", "number of seconds above 0"),
        ("sqlite:///x.db?lease=inf", "number of seconds above 0"),
        ("sqlite:///x.db?busy_timeout=-1", "of 0 or more"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_remedy(url: str, says: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        Address.from_url(url)
    assert says in str(caught.value)
