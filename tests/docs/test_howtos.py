"""The pages for authors of plugins: what they say is done, in an environment of the page's own."""

from __future__ import annotations

import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGES = {
    "write-a-pool.md": 8,
    "write-a-step.md": 12,
    "observe-tasks.md": 5,
    "add-a-setting.md": 8,
    "add-an-autoscaling-policy.md": 7,
}
"""The pages, and how many commands each has at least."""

PIP = """#!/bin/sh
export PIP_CONFIG_FILE=/dev/null
pip="{dev} -m pip --disable-pip-version-check --python {python}"
exec $pip "$@" --no-deps --no-index --no-build-isolation
"""
KERNEL = """#!{python}
import sys
from worker_kernel.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of an environment of the page's own, which sees all packages of this one, and into which pip installs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    here = sysconfig.get_path("purelib")
    (packages,) = folder.glob("lib/python3.*/site-packages")
    (packages / "around.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for name, text in {"pip": PIP, "kernel": KERNEL}.items():
        (folder / "bin" / name).write_text(text.format(dev=sys.executable, python=python))
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES)
def test_its_commands_run_as_written(read_through: Callable[[Path], int], page: str) -> None:
    assert read_through(HOWTO / page) >= PAGES[page]


def test_the_pages_are_linked_from_the_table_of_contents() -> None:
    contents = (HOWTO.parent / "README.md").read_text()
    assert [page for page in PAGES if f"(howto/{page})" not in contents] == []
