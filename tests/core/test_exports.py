"""Each distribution has one face: the `__all__` of its package, lazy, sorted, and true."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import worker_kernel
from worker_kernel import errors, hookspecs
from worker_kernel.homes import HOMES

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "core" / "src", *sorted((ROOT / "plugins").glob("**/src"))]
PACKAGES = sorted(
    init.parent
    for source in SOURCES
    for init in source.glob("*/__init__.py")
    # The one distribution that may be left out, because of what it depends on.
    if init.parent.name != "worker_pool_eventlet" or importlib.util.find_spec("worker_pool_eventlet") is not None
)
NAMES = [package.name for package in PACKAGES]
FACES = [*NAMES, "worker_kernel.testing"]
PLUGINS = [package for package in PACKAGES if package.name != "worker_kernel"]

CONTRACT_MODULES = (
    "application",
    "bootsteps",
    "capabilities",
    "clock",
    "errors",
    "hookspecs",
    "hub",
    "job",
    "loop",
    "outcome",
    "pool",
    "settings",
)
"""The modules of the kernel that plugins build on: whatever is public there is exported."""


def face(name: str) -> ModuleType:
    return importlib.import_module(name)


def public_classes_and_hooks(module: ModuleType) -> set[str]:
    return {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", None) == module.__name__
        and (isinstance(thing, type) or name.startswith("kernel_"))
    }


@pytest.mark.parametrize("name", FACES)
def test_every_exported_name_exists(name: str) -> None:
    module = face(name)
    missing = [exported for exported in module.__all__ if getattr(module, exported, None) is None]
    assert missing == []


@pytest.mark.parametrize("name", FACES)
def test_the_names_are_sorted_and_stand_once(name: str) -> None:
    exported = list(face(name).__all__)
    assert len(set(exported)) == len(exported)
    constants = sorted(one for one in exported if one.isupper())
    classes = sorted(one for one in exported if not one.isupper() and one[0].isupper())
    assert exported == [*constants, *classes, *sorted(set(exported) - set(constants) - set(classes))]


@pytest.mark.parametrize("name", CONTRACT_MODULES)
def test_every_public_name_of_a_contract_is_exported(name: str) -> None:
    module = importlib.import_module(f"worker_kernel.{name}")
    assert public_classes_and_hooks(module) - set(worker_kernel.__all__) == set()


def test_every_hook_is_exported() -> None:
    assert {hook.__name__ for hook in hookspecs.HOOKS} <= set(worker_kernel.__all__)


def test_the_tree_of_errors_names_every_error() -> None:
    drawn = errors.__doc__ or ""
    names = {name for name in public_classes_and_hooks(errors) if issubclass(getattr(errors, name), BaseException)}
    assert names - set(re.findall(r"\w+", drawn)) == set()


def test_the_three_tables_of_the_kernel_say_the_same() -> None:
    tree = ast.parse((ROOT / "core/src/worker_kernel/__init__.py").read_text())
    checked = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        f"{'.' * one.level}{one.module}:{alias.name}"
        for node in checked
        for one in node.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    lazy = {f"{home}:{name}" for name, home in HOMES.items()}
    assert typed == lazy
    assert {one.partition(":")[2] for one in lazy} == set(worker_kernel.__all__)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        vars(worker_kernel)["__getattr__"]("Nothing")
    assert set(worker_kernel.__all__) <= set(dir(worker_kernel))


@pytest.mark.parametrize("name", FACES)
def test_importing_a_face_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what measures coverage may have come first
        f"import {name}\n"
        "heavy = {'kombu', 'billiard', 'celery', 'gevent', 'eventlet', 'click', 'rich', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", PLUGINS, ids=[package.name for package in PLUGINS])
def test_a_plugin_imports_the_kernel_by_its_face_also_for_types(package: Path) -> None:
    inner = [
        f"{path.name}:{node.lineno}: {node.module}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker_kernel.")
    ]
    assert inner == []


@pytest.mark.parametrize("name", NAMES)
def test_every_module_can_be_imported_and_says_what_it_is(name: str) -> None:
    code = (
        f"import importlib, pkgutil, {name} as package\n"
        "for info in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    if not info.name.endswith('__main__') and not importlib.import_module(info.name).__doc__:\n"
        "        print(info.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")
