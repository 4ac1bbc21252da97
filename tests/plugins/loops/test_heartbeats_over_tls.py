"""Over TLS nothing can send heartbeats past a held loop, so they are refused where they were asked for."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from worker_kernel import OptionRefused
from worker_loops.connection import check_heartbeats


class Settings:
    def __init__(self, *, given: bool, best_effort: bool, heartbeat: float | None) -> None:
        self._given, self._best_effort, self._heartbeat = given, best_effort, heartbeat

    def get_float(self, name: str) -> float | None:
        return self._heartbeat

    def get_bool(self, name: str) -> bool:
        return self._best_effort

    def given(self, name: str) -> bool:
        return self._given

    def spelled(self, name: str) -> str:
        return f"{name} = {self._heartbeat}"


def worker(
    *,
    green: bool = True,
    tls: bool = True,
    driver: str = "amqp",
    given: bool = True,
    best_effort: bool = False,
    heartbeat: float | None = 10.0,
) -> Any:
    connection = SimpleNamespace(ssl=tls, get_transport_cls=lambda: SimpleNamespace(driver_type=driver))
    return SimpleNamespace(
        app=SimpleNamespace(connection=lambda: connection),
        settings=Settings(given=given, best_effort=best_effort, heartbeat=heartbeat),
        pool_spec=SimpleNamespace(name="gevent", capabilities=SimpleNamespace(is_green=green)),
    )


def test_heartbeats_that_were_asked_for_are_refused_with_what_to_use() -> None:
    with pytest.raises(OptionRefused, match="use --processes"):
        check_heartbeats(worker())


@pytest.mark.parametrize("how", [{"given": False}, {"best_effort": True}])
def test_heartbeats_by_default_or_as_best_effort_are_warned_of(how: dict[str, Any], caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        check_heartbeats(worker(**how))
    assert "use --processes" in caplog.text


@pytest.mark.parametrize("how", [{"green": False}, {"tls": False}, {"driver": "redis"}, {"heartbeat": 0.0}])
def test_elsewhere_nothing_is_said(how: dict[str, Any], caplog: Any) -> None:
    check_heartbeats(worker(**how))
    assert caplog.text == ""
