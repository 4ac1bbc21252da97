"""Real workers on a Redis of each test's own, which may be killed and started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.redis_server import RedisServer
from tests.system.proxy import Proxy


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def redis_site(server: RedisServer, new_site: type[Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make sites: ``redis_site("asynloop", lease="2", ...)``; what is named beside loop and URL goes into the query."""
    sites: list[Any] = []

    def make(loop: str = "asynloop", url: str = server.url, **query: str) -> Any:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        options = {**query, **({} if loop == "asynloop" else {"hub": "0"})}
        words = "&".join(f"{name}={value}" for name, value in options.items())
        site = new_site(folder, f"?{words}" if words else "", url)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()
