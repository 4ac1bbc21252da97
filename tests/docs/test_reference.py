"""The references are complete and fresh: each hook, setting, command, error and exit code stands in them."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from worker_kernel import Capabilities, LoopSpec, Plugins, PoolSpec, Setting, StepSpec, errors, hookspecs
from worker_kernel.capabilities import OPTIONS
from worker_kernel.cli.invocation import Invocation
from worker_kernel.cli.main import BUILTINS
from worker_kernel.cli.main import command as kernel
from worker_kernel.core_settings import CORE_SETTINGS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading of the third level, up to the next heading."""
    _, found, rest = text.partition(f"\n### {heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def settings() -> list[Setting]:
    plugins = Plugins.load(environ={}).settings
    return [*CORE_SETTINGS, *(setting for setting in plugins if setting.owner.startswith("worker-"))]


def test_the_generated_pages_are_fresh() -> None:
    if importlib.util.find_spec("eventlet") is None:
        pytest.skip("worker-pool-eventlet is not installed: the pages compare all pools")
    command = [sys.executable, "docs/generate.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}\nrun: make docs"


@pytest.mark.parametrize("hook", hookspecs.HOOKS, ids=[hook.__name__ for hook in hookspecs.HOOKS])
def test_each_hook_is_documented(hook: Callable[..., object]) -> None:
    text = section(read("hooks.md"), hook.__name__)
    parameters = re.search(rf"{hook.__name__}\((.*?)\) -> ", text)
    assert parameters is not None
    assert re.findall(r"(\w+):", parameters[1]) == list(inspect.signature(hook).parameters)
    for part in ("*When:*", "*Results:*", "*On error:*", "@implements("):
        assert part in text
    assert re.search(r"\*On error:\* (abort|quarantine|log)\b", text)


@pytest.mark.parametrize("hook", hookspecs.HOOKS, ids=[hook.__name__ for hook in hookspecs.HOOKS])
def test_each_example_implements_its_hook(hook: Callable[..., object]) -> None:
    example = section(read("hooks.md"), hook.__name__).partition("@implements(")[2]
    assert example.startswith(f"{hook.__name__})")
    code = re.search(r"^def \w+\((.*?)\)", example, re.MULTILINE)
    assert code is not None
    assert set(re.findall(r"(\w+):", code[1])) <= set(inspect.signature(hook).parameters)


@pytest.mark.parametrize(
    "record",
    [
        PoolSpec,
        StepSpec,
        LoopSpec,
        Setting,
        hookspecs.TransportSpec,
        hookspecs.ResultStoreSpec,
        hookspecs.AutoscalePolicySpec,
        hookspecs.ControlCommandSpec,
        hookspecs.Start,
    ],
)
def test_each_field_of_what_hooks_return_is_documented(record: type[attrs.AttrsInstance]) -> None:
    text = section(read("hooks.md"), record.__name__)
    for field in attrs.fields(record):
        assert re.search(rf"^\| `{field.name}` \| .+ \| \S.* \|$", text, re.MULTILINE)


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_each_setting_is_documented(setting: Setting) -> None:
    (row,) = (line for line in read("settings.md").splitlines() if line.startswith(f"| `{setting.name}` |"))
    assert f"`{setting.variable}`" in row
    assert all(f"`{option}`" in row for option in setting.options)
    assert setting.help


def test_no_setting_is_documented_that_is_not_there() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", read("settings.md"), re.MULTILINE)
    assert sorted(documented) == sorted(setting.name for setting in settings())


@pytest.mark.parametrize("name", BUILTINS)
def test_each_command_is_documented_with_each_option_of_its_help(name: str) -> None:
    result = CliRunner().invoke(kernel, [name, "--help"], prog_name="kernel", obj=Invocation(), catch_exceptions=False)
    assert result.exit_code == 0
    _, found, rest = read("cli.md").partition(f"\n## kernel {name}\n")
    assert found
    text = rest.partition("\n## ")[0]
    assert f"\nkernel {name} " in text
    options = set(re.findall(r"^ {2}(-\S+)", result.output.partition("\nOptions:\n")[2], re.MULTILINE))
    assert {option for option in options if f"`{option.strip(',')}" not in text} == set()


def test_each_error_and_each_exit_code_is_documented() -> None:
    text = read("errors.md")
    codes = re.findall(r"^\| (\d) \| `(\w+)` \| \S.* \|", text, re.MULTILINE)
    assert [(int(code), name) for code, name in codes] == [(code.value, code.name) for code in errors.ExitCode]
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, BaseException):
            assert f"\n**{name}**: " in text
        if isinstance(error, type) and issubclass(error, errors.KernelError):
            assert error.exit_code in set(errors.ExitCode)


def test_each_row_of_the_capabilities_is_documented() -> None:
    text = read("pools.md")
    for field in attrs.fields(Capabilities):
        assert f"\n| `{field.name}` | " in text
    for option in OPTIONS:
        assert f"\n| {option} | " in text
