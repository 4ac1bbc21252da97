"""Directories with modules in them, whose import leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker_kernel.bootsteps import BlueprintName, StepSpec
from worker_kernel.capabilities import Capabilities, Support
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.loading import Plugins
from worker_kernel.pool import PoolSpec

WriteModules = Callable[..., Path]


@pytest.fixture
def write_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModules]:
    """Write ``name=source`` as modules into the directory that is made the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path.joinpath(*name.split("__in__")[::-1]).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def plugins() -> Plugins:
    """Two pools and the step for autoscaling; no hook is implemented."""
    can = {"concurrency": Support.NATIVE, "time_limit": Support.NATIVE}
    pools = (
        PoolSpec(name="solo", cls="fake:Solo", capabilities=Capabilities()),
        PoolSpec(name="threads", cls="fake:Threads", capabilities=Capabilities(**can)),  # type: ignore[arg-type]  # Support fields
    )
    step = StepSpec(name="autoscaler", blueprint=BlueprintName.WORKER, factory="fake:Step")
    return Plugins(declared=[Declared(pools=pools, steps=(step,))])
