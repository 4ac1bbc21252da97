"""Writes the generated parts of the documentation from the code that they are about.

python docs/generate.py          # write what is stale
python docs/generate.py --check  # write nothing; exit 1 and name what is stale
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import requires
from pathlib import Path

import attrs
import click
from writing import between_markers, page, prose, table, words_below

from worker_kernel import (
    Capabilities,
    LoopSpec,
    Plugins,
    PoolSpec,
    Setting,
    StepSpec,
    Stuck,
    Support,
    errors,
    hookspecs,
)
from worker_kernel.capabilities import LimitTable
from worker_kernel.choosing import hosted
from worker_kernel.cli.invocation import Invocation
from worker_kernel.cli.main import BUILTINS
from worker_kernel.cli.main import command as kernel
from worker_kernel.cli.pools import answers, features
from worker_kernel.core_settings import CORE_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"

SPECS = (
    PoolSpec,
    StepSpec,
    LoopSpec,
    Setting,
    hookspecs.TransportSpec,
    hookspecs.ResultStoreSpec,
    hookspecs.AutoscalePolicySpec,
    hookspecs.ControlCommandSpec,
    hookspecs.Start,
)


# -- hooks --------------------------------------------------------------------------------------------------------


def phases() -> list[tuple[str, list[Callable[..., object]]]]:
    """The hooks by the phase that stands above them in their file."""
    lines = inspect.getsource(hookspecs).splitlines()
    heads = [(number, match[1]) for number, line in enumerate(lines, 1) if (match := re.match(r"# -- (.+?) -+$", line))]
    groups: dict[str, list[Callable[..., object]]] = {name: [] for _, name in heads}
    for hook in hookspecs.HOOKS:
        _, name = max(head for head in heads if head[0] < hook.__code__.co_firstlineno)
        groups[name].append(hook)
    return list(groups.items())


def signature(hook: Callable[..., object]) -> str:
    """The hook as it is declared, with its types."""
    return f"{hook.__name__}{inspect.signature(hook)}".replace("'", "")


def described(hook: Callable[..., object]) -> str:
    text = prose(inspect.getdoc(hook) or "")
    head, _, example = text.partition("Example::\n")
    head = re.sub(r"^(When|Results|On error): ", r"- *\1:* ", head, flags=re.MULTILINE)
    head = re.sub(r"^Args:\n", "\nArguments:\n\n", head, flags=re.MULTILINE)
    head = re.sub(r"^ {4}(\w+): ", r"- `\1`: ", head, flags=re.MULTILINE)
    return f"{head.rstrip()}\n\n```python\n{inspect.cleandoc(example)}\n```\n"


def hooks_page() -> str:
    parts: list[str] = []
    for name, hooks in phases():
        parts.append(f"## {name.capitalize()}\n")
        parts += [f"### {hook.__name__}\n\n```python\n{signature(hook)}\n```\n\n{described(hook)}" for hook in hooks]
    parts.append("## What the hooks return\n")
    for record in SPECS:
        rows = []
        for field in attrs.fields(record):
            needed = "required" if field.default is attrs.NOTHING else f"`{default_text(field.default)}`"
            rows.append([f"`{field.name}`", needed, words_below(record).get(field.name, "")])
        summary = prose((inspect.getdoc(record) or "").partition("\n")[0])
        parts.append(f"### {record.__name__}\n\n{summary}\n\n{table(['field', 'default', 'meaning'], rows)}")
    return page("Hooks", prose(inspect.getdoc(hookspecs) or "").replace("::\n\n", ":\n\n"), *parts)


def default_text(default: object) -> str:
    return "()" if isinstance(default, attrs.Factory) else repr(default)  # type: ignore[arg-type]  # attrs types it as a function


# -- settings -----------------------------------------------------------------------------------------------------


def setting_row(setting: Setting) -> list[str]:
    default = "" if setting.default is None else f"`{setting.default}`"
    kind = f"{setting.kind} ({setting.unit})" if setting.unit and setting.unit not in setting.kind else setting.kind
    options = ", ".join(f"`{option}`" for option in setting.options)
    return [f"`{setting.name}`", prose(setting.help), prose(kind), default, options, f"`{setting.variable}`"]


def settings_page(declared: Sequence[Setting]) -> str:
    parts = []
    for owner in dict.fromkeys(setting.owner for setting in declared):
        rows = [setting_row(setting) for setting in declared if setting.owner == owner]
        head = ["setting", "meaning", "kind", "default", "option", "variable"]
        parts.append(f"## {owner}\n\n{table(head, rows)}")
    introduction = """
Each setting has one declaration, which yields its key, its environment variable, and its option where it has one. A
value is looked for in five places, and the one closest to the user wins: the default, the app, the file (`kernel.toml`,
or `[tool.kernel]` of `pyproject.toml`), the environment, the command line. An explicit 0, or a value equal to the
default, counts as given. Names are Celery's where Celery has one, and so are the units of these.

`kernel settings` shows each effective value and where it came from.
"""
    return page("Settings", introduction, *parts)


# -- the command line ---------------------------------------------------------------------------------------------


def parameter_row(parameter: click.Parameter) -> list[str]:
    takes_value = not (isinstance(parameter, click.Option) and parameter.is_flag)
    value = parameter.metavar or parameter.type.name.upper()
    if isinstance(parameter, click.Argument):
        many = "..." if parameter.nargs == -1 else ""
        return [f"`{value if parameter.metavar else (parameter.name or '').upper()}{many}`", "an argument"]
    names = ", ".join(f"`{name} {value}`" if takes_value else f"`{name}`" for name in parameter.opts)
    return [names, prose(getattr(parameter, "help", "") or "")]


def documented(*names: str) -> str:
    """What a command is for, and what it takes."""
    with click.Context(kernel, info_name="kernel", obj=Invocation()) as context:
        found = kernel.get_command(context, names[0]) if names else kernel
        for name in names[1:]:
            assert isinstance(found, click.Group)
            found = found.get_command(context, name)
        assert found is not None
        with click.Context(found, info_name=" ".join(names), parent=context if names else None) as inner:
            usage = " ".join(found.collect_usage_pieces(inner))
            rows = [parameter_row(parameter) for parameter in found.get_params(inner)]
    text = prose(inspect.cleandoc(found.help or ""))
    return f"```text\n{' '.join(['kernel', *names, usage])}\n```\n\n{text}\n\n{table(['option', 'meaning'], rows)}"


def subcommands(name: str) -> list[str]:
    with click.Context(kernel, info_name="kernel", obj=Invocation()) as context:
        found = kernel.get_command(context, name)
        return found.list_commands(context) if isinstance(found, click.Group) else []


def plugin_options(settings: Sequence[Setting]) -> str:
    """The options that plugins add to ``kernel worker``."""
    rows = []
    for setting in settings:
        names = ", ".join(f"`{option} {setting.metavar}`" for option in setting.options)
        if names and setting.owner != "worker-kernel":
            rows.append([names, prose(setting.help), setting.owner])
    return f"Plugins add:\n\n{table(['option', 'meaning', 'distribution'], rows)}"


def cli_page(settings: Sequence[Setting]) -> str:
    commands = []
    for name in BUILTINS:
        commands.append(f"## kernel {name}\n\n{documented(name)}")
        if name == "worker":
            commands.append(plugin_options(settings))
        commands += [f"### kernel {name} {below}\n\n{documented(name, below)}" for below in subcommands(name)]
    introduction = """
Machine output (`--json`) is JSON alone on stdout, `{"schema": 1, "kernel": VERSION, ...}`; keys are only ever added.
The [exit codes](errors.md#exit-codes) are a page of their own.
"""
    return page("Command line", introduction, documented(), *commands)


# -- errors and exit codes ----------------------------------------------------------------------------------------


def error_classes() -> list[type[BaseException]]:
    return [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, BaseException)]


def errors_page() -> str:
    tree = inspect.cleandoc((inspect.getdoc(errors) or "").partition("::\n")[2])
    rows = []
    for code in errors.ExitCode:
        raised = [error.__name__ for error in error_classes() if vars(error).get("exit_code") == code]
        names = ", ".join(f"`{name}`" for name in raised)
        rows.append([str(code.value), f"`{code.name}`", words_below(errors.ExitCode)[code.name], names])
    parts = [
        f"## Exit codes\n\n{table(['code', 'name', 'meaning', 'error and those below it'], rows)}",
        f"## The tree\n\n```text\n{tree}\n```\n",
        "## Each error\n",
        *(f"**{error.__name__}**: {prose(inspect.getdoc(error) or '')}\n" for error in error_classes()),
    ]
    introduction = """
All errors are raised on purpose, and say who, what, why and what to do in at most five lines. Those that end the
command line decide its exit code. `--traceback` shows where one came from.
"""
    return page("Errors and exit codes", introduction, *parts)


# -- pools --------------------------------------------------------------------------------------------------------


def pools_table(rows: Mapping[str, Mapping[str, object]]) -> str:
    """A column per pool, a row per key of these."""
    names = next(iter(rows.values()))
    cells = [[name, *(in_words(column[name]) for column in rows.values())] for name in names]
    return table(["", *(f"`{pool}`" for pool in rows)], cells)


def in_words(value: object) -> str:
    return str(value).replace("✓", "yes").replace("✗", "no").replace("True", "yes").replace("False", "no")


def comparison(pools: Sequence[PoolSpec]) -> str:
    """The rows that ``kernel pools`` begins with."""
    return pools_table({pool.name: features(pool.capabilities) for pool in pools})


def options_table(pools: Sequence[PoolSpec], plugins: Plugins) -> str:
    return pools_table({pool.name: answers(pool, plugins) for pool in pools})


def limits_table(pool: PoolSpec) -> str:
    def effects(table: LimitTable) -> list[str]:
        return [table[stuck].value if stuck in table else "refused" for stuck in Stuck]

    soft, hard = effects(pool.capabilities.soft_effects), effects(pool.capabilities.hard_effects)
    rows = list(zip((stuck.value for stuck in Stuck), soft, hard, strict=True))
    return table(["a task that is stuck in", "soft limit", "hard limit"], rows)


HOSTED = """
`-P POOL --processes N` runs the pool inside N supervised processes: `kernel pools --hosted`.
""".strip()


def pools_page(pools: Sequence[PoolSpec], plugins: Plugins) -> str:
    inside = [spec for pool in pools if (spec := hosted(pool, plugins)) is not None]
    meanings = [[f"*{support.value}*", words_below(Support)[support.name]] for support in Support]
    parts = [
        f"## Features\n\n{comparison(pools)}",
        f"## Options\n\n{options_table(pools, plugins)}\n{table(['answer', 'meaning'], meanings)}",
        f"## With --processes\n\n{HOSTED}\n\n{comparison(inside)}\n{options_table(inside, plugins)}",
        "## Time limits\n",
        *(f"### {pool.name}\n\n{prose(pool.summary)}\n\n{limits_table(pool)}" for pool in pools),
        "## What the rows mean\n",
        table(["row", "meaning"], [[f"`{name}`", text] for name, text in words_below(Capabilities).items()]),
    ]
    introduction = """
What each pool of this repository can do. The same records decide at boot whether an option is honoured, emulated or
refused, and the conformance kit tests that each answer is true. `kernel pools` prints the table for what is installed.
"""
    return page("Pools", introduction, *parts)


# -- all of it ----------------------------------------------------------------------------------------------------


def of_this_repository(distribution: str) -> bool:
    """Whether a distribution is the kernel or one of the plugins that its extras name."""
    known = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in requires("worker-kernel") or ()}
    return distribution == "worker-kernel" or distribution in known


def pages() -> dict[Path, str]:
    """Every generated file with what should be in it."""
    plugins = Plugins.load(environ={})
    pools = [plugins.pools[name] for name in sorted(plugins.pools)]
    added = sorted(plugins.settings, key=lambda setting: (setting.owner, setting.name))
    settings = [one for one in (*CORE_SETTINGS, *added) if of_this_repository(one.owner)]
    readme = ROOT / "README.md"
    return {
        REFERENCE / "hooks.md": hooks_page(),
        REFERENCE / "settings.md": settings_page(settings),
        REFERENCE / "cli.md": cli_page(settings),
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "pools.md": pools_page(pools, plugins),
        readme: between_markers(readme.read_text(encoding="utf-8"), "pools", comparison(pools)),
    }


def stale() -> dict[Path, str]:
    """The files that are not what they should be, with what they should be."""
    return {
        path: content
        for path, content in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    }


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and name what is stale.")
def main(check: bool) -> None:
    """Write the generated parts of the documentation."""
    changed = stale()
    for path, content in changed.items():
        click.echo(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(content, encoding="utf-8")
    if not changed:
        click.echo("the generated documentation is up to date")
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
