"""Tiny distributions to be installed for one test: a folder with packages and their metadata, put on the path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from worker_kernel import Plugins
from worker_kernel.plugins.discovery import discover
from worker_kernel.plugins.selection import Selection

POOL = """
    from worker_kernel import Capabilities, PoolSpec, implements, kernel_pools
    CONTRACT = 1

    @implements(kernel_pools)
    def pools():
        return [PoolSpec(name="{name}", cls="{module}_heavy:Pool", capabilities=Capabilities())]
"""

PLUGIN = """
    from worker_kernel import *
    from worker_kernel import kinds
    CONTRACT = 1
"""


class Site:
    """A folder that stands for site-packages."""

    POOL = POOL
    PLUGIN = PLUGIN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def module(self, name: str, source: str = "CONTRACT = 1\n") -> None:
        """Write a module, or with a dot in its name a module of a package."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))

    def install(
        self,
        name: str,
        groups: Mapping[str, Mapping[str, str]] | str = "",
        *,
        version: str | None = "1.0",
        requires: tuple[str, ...] = ("worker-kernel>=0.1,<1",),
        extra: str = "",
        files: Mapping[str, str | bytes] | None = None,
    ) -> Path:
        """Write the metadata of a distribution and return its folder.

        Args:
            name: the distribution's name.
            groups: the entry points by group without ``worker_kernel.``, or the text of entry_points.txt.
            version: for METADATA; None: none is written.
            requires: the Requires-Dist lines.
            extra: more lines of METADATA.
            files: further files, or other contents, by name.
        """
        folder = self.folder / f"{name.replace('-', '_')}-{version or '1.0'}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", *([f"Version: {version}"] if version else [])]
        lines += [f"Summary: The {name} of a test.", *(f"Requires-Dist: {line}" for line in requires)]
        (folder / "METADATA").write_text("\n".join([*lines, *filter(None, [extra]), "", "Description: not a header\n"]))
        if not isinstance(groups, str):
            groups = "\n".join(
                f"[worker_kernel.{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
                for group, entries in groups.items()
            )
        (folder / "entry_points.txt").write_text(groups)
        (folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n")
        for file, content in (files or {}).items():
            (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    def pool(
        self, name: str, dist: str = "", source: str = POOL, requires: tuple[str, ...] = ("worker-kernel>=0.1,<1",)
    ) -> None:
        """Install a distribution with one pool, whose class is in a module that does not exist."""
        module = f"{(dist or name).replace('-', '_')}_module"
        self.module(module, source.format(name=name, module=module))
        self.install(dist or name, {"pools": {name: module}}, requires=requires)

    def plugin(self, name: str, body: str) -> None:
        """Install a distribution with one plugin module, which begins as `PLUGIN` does."""
        self.module(f"{name}_module", PLUGIN + body)
        self.install(name, {"plugins": {name: f"{name}_module"}})

    def load(self, words: str = "") -> Plugins:
        """Load what is installed here, as far as ``words`` (of ``KERNEL_PLUGINS``) let it."""
        selection, problems = Selection.read(environ={"KERNEL_PLUGINS": words})
        assert problems == ()
        return Plugins.survey(selection, discover([str(self.folder)]))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty folder that stands for site-packages."""
    return Site(tmp_path / "site")


@pytest.fixture
def importable(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The same folder on this process's path; what a test imports from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(site.folder))
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(site.folder)):
            del sys.modules[name]
