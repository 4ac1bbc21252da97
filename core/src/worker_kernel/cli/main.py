"""The command ``kernel`` itself: a table of commands, each imported only when it is called.

``--help`` and ``--version`` read metadata and import no plugin; no plugin can end them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import attrs
import click

from ..errors import PluginBroken, PluginConflict, PluginError, PluginIncompatible, PluginNotFound
from ..suggestions import did_you_mean
from .invocation import Invocation, said_before, shared_options
from .report import report

if TYPE_CHECKING:
    from ..plugins.found import Found


@attrs.frozen(kw_only=True)
class Builtin:
    """One command of the kernel's own."""

    path: str
    """``package.module:attribute`` of the click command."""
    summary: str
    """What ``kernel --help`` says of it."""


BUILTINS: Mapping[str, Builtin] = MappingProxyType(
    {
        "worker": Builtin(path="worker_kernel.cli.worker:command", summary="Run a worker."),
        "call": Builtin(path="worker_kernel.cli.call:command", summary="Send a task."),
        "result": Builtin(path="worker_kernel.cli.result:command", summary="Show the result of a task."),
        "purge": Builtin(path="worker_kernel.cli.purge:command", summary="Throw away what waits in queues."),
        "control": Builtin(path="worker_kernel.cli.control:command", summary="Tell a running worker to do something."),
        "probe": Builtin(path="worker_kernel.cli.probe:command", summary="Ask whether a worker is live, or ready."),
        "quarantine": Builtin(
            path="worker_kernel.cli.quarantine:command",
            summary="Look at messages that were put aside, or send them again.",
        ),
        "list-plugins": Builtin(path="worker_kernel.cli.list_plugins:command", summary="Show what is installed."),
        "new-plugin": Builtin(path="worker_kernel.cli.new_plugin:command", summary="Write a plugin to begin with."),
        "check-plugin": Builtin(
            path="worker_kernel.cli.check_plugin:command", summary="Hold an installed plugin to its promises."
        ),
        "pools": Builtin(path="worker_kernel.cli.pools:command", summary="Compare the installed pools."),
        "graph": Builtin(path="worker_kernel.cli.graph:command", summary="Draw the boot order of the steps."),
        "settings": Builtin(path="worker_kernel.cli.settings:command", summary="Show each setting and its source."),
        "demo": Builtin(path="worker_kernel.cli.demo:command", summary="Show the installed pools at work."),
    }
)
"""In the order in which ``--help`` lists them."""


def run(arguments: Sequence[str], *, patched: str = "", again: bool = False, failure: Exception | None = None) -> int:
    """Run one command line and return its exit code. Never raises.

    Args:
        arguments: without the program's name.
        patched: the pool whose patch has been run already.
        again: whether this process took the place of one that came too late to patch.
        failure: what the patch phase raised; it is told in place of running the command.
    """
    invocation = Invocation(
        arguments=tuple(arguments), patched=patched, again=again, traceback="--traceback" in arguments
    )
    if failure is not None:
        return report(failure, with_traceback=invocation.traceback)
    try:
        code = command.main(args=list(arguments), prog_name="kernel", standalone_mode=False, obj=invocation)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except BaseException as exc:  # noqa: BLE001  (the end of the line: everything is told, nothing is swallowed)
        return report(exc, with_traceback=invocation.traceback)
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


class KernelGroup(click.Group):
    """The group of all commands: the kernel's own, and those of plugins by their metadata."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the kernel's own names, then those of plugins, sorted."""
        return [*BUILTINS, *sorted(set(_plugin_commands(ctx)) - set(BUILTINS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; a plugin's that cannot be used becomes a stub that says why."""
        if cmd_name in BUILTINS:
            from ..plugins.importing import import_value

            builtin = import_value(BUILTINS[cmd_name].path)
            assert isinstance(builtin, click.Command)  # noqa: S101  (our own)
            return _with_shared_options(ctx, builtin)
        row = _plugin_commands(ctx).get(cmd_name)
        return None if row is None else _third_party(row)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the nearest name."""
        name = args[0]
        if name not in BUILTINS and name not in _plugin_commands(ctx):
            ctx.fail(f"there is no command {name!r}{did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, builtin.summary) for name, builtin in BUILTINS.items()])
        rows = _plugin_commands(ctx)
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, _summary(row, name)) for name, row in sorted(rows.items())])


def _with_shared_options(ctx: click.Context, builtin: click.Command) -> click.Command:
    """Return a copy that takes the shared options as well.

    Where the command declares one of them itself, what was said before the command becomes that option's default.
    """
    invocation = ctx.find_object(Invocation) or Invocation()
    added: list[click.Parameter] = []
    defaults: dict[str, object] = {}
    for option in shared_options():
        own = next((param for param in builtin.params if set(param.opts) & set(option.opts)), None)
        if own is None:
            added.append(option)
        elif (said := said_before(invocation, option)) is not None:
            defaults[own.name or ""] = said
    copied = copy.copy(builtin)
    copied.params = [*builtin.params, *added]
    ctx.default_map = {**(ctx.default_map or {}), builtin.name or "": defaults}
    return copied


def _plugin_commands(ctx: click.Context) -> Mapping[str, Found]:
    """Return the rows of all plugins' commands by name, from metadata, after the user's choice. Read once."""
    known: Mapping[str, Found] | None = ctx.meta.get(__name__)
    if known is None:
        from ..plugins.discovery import discover
        from ..plugins.found import Kind
        from ..plugins.selection import choice

        invocation = ctx.find_object(Invocation)
        selection, _ = choice(safe_mode=invocation is not None and invocation.safe_mode)
        rows = [row for row in selection.apply(discover()) if row.kind is Kind.COMMAND and row.value]
        known = {row.name: row for row in rows}
        ctx.meta[__name__] = known
    return known


def _summary(row: Found, name: str) -> str:
    from ..plugins.found import USABLE

    what = row.summary or f"from {row.source}"
    if name in BUILTINS:
        return f"hidden by the kernel's own command of that name ({row.source})"
    return what if row.status in USABLE else f"{row.status}: {row.reason}"


def _third_party(row: Found) -> click.Command:
    from ..plugins.found import USABLE, Status
    from ..plugins.importing import describe, import_value

    if row.status not in USABLE:
        return _stub(row, f"{row.status}: {row.reason}", None)
    try:
        found = import_value(row.value)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001  (a plugin may raise anything, SystemExit included)
        return _stub(row.becoming(Status.BROKEN, describe(exc)), f"broken: {describe(exc)}", exc)
    if isinstance(found, click.Command):
        return found
    return _stub(row.becoming(Status.BROKEN), f"broken: {row.value} is no click command", None)


def _stub(row: Found, why: str, cause: BaseException | None) -> click.Command:
    """Return a command that takes anything and says why it cannot be had."""

    def refuse() -> NoReturn:
        raise _error(row, why) from cause

    return click.Command(
        row.name,
        callback=refuse,
        help=f"Cannot be used: {why}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        params=[click.Argument(["anything"], nargs=-1, type=click.UNPROCESSED, expose_value=False)],
    )


def _error(row: Found, why: str) -> PluginError | PluginNotFound:
    from ..plugins.found import Status

    text = f"the command {row.name!r} of {row.source} cannot be used: {why}\n{row.remedy}".rstrip()
    if row.status is Status.DISABLED:
        return PluginNotFound(text)
    kinds = {Status.CONFLICT: PluginConflict, Status.INCOMPATIBLE: PluginIncompatible}
    return kinds.get(row.status, PluginBroken)(text, plugin=row.name, dist=row.dist, version=row.version)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from ..plugins.discovery import kernel_version

        click.echo(f"kernel {kernel_version() or '(version not known: not installed)'}")
        ctx.exit()


command = KernelGroup(
    "kernel",
    help="A task worker made of plugins.",
    params=[
        *shared_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ],
)
"""The whole command line."""
