"""``kernel worker``: boots a worker from the command line and exits with its code."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence

import click
from click.core import ParameterSource

from ..boot import Boot, prepare
from ..core_settings import CORE_SETTINGS
from ..errors import KernelBug, UsageError
from ..logs import set_up_logging
from ..patching import EXECUTED_AGAIN, with_pool
from ..plugins.loading import Plugins
from ..settings import Layer, Setting
from .invocation import Invocation, spelling_used

COLLECT_AFTER = 20_000
"""Objects that were made and not given up since the cycle collector last looked, before it looks again: more than the
messages in hand are made of, which it would go through again and again, and they are in no cycle."""
_PLUGINS = f"{__name__}.plugins"
GREEN_WARNING = (
    "The worker_pool setting shouldn't be used to select the eventlet/gevent pools, instead you *must use the -P* "
    "argument so that patches are applied as early as possible."
)


class WorkerCommand(click.Command):
    """The options are generated from the declared settings: the kernel's, and those of plugins."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Load the plugins, then parse with the options that they add."""
        typed = args[: args.index("--")] if "--" in args else args
        if "--help" in typed:
            self._help(ctx)
        invocation = ctx.ensure_object(Invocation)
        plugins = Plugins.load(safe_mode=invocation.safe_mode or "--safe-mode" in typed)
        ctx.meta[_PLUGINS] = plugins
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            if hint := plugins.may_have_it():
                exc.add_note(hint)
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the shared options, and one for each setting that has any."""
        own = super().get_params(ctx)
        taken = {spelling for param in own for spelling in param.opts}
        return [*(_option(setting) for setting in _optional(ctx) if not taken.intersection(setting.options)), *own]

    def _help(self, ctx: click.Context) -> None:
        """Print the help, then what plugins add to it: whatever a plugin does, the first part is out."""
        click.echo(self.get_help(ctx))
        sys.stdout.flush()
        plugins = Plugins.load(safe_mode=ctx.ensure_object(Invocation).safe_mode)
        added = [_option(setting) for setting in _without_core(plugins.settings) if setting.options]
        records = [record for option in added if (record := option.get_help_record(ctx)) is not None]
        if records:
            formatter = ctx.make_formatter()
            with formatter.section("Options of plugins"):
                formatter.write_dl(records)
            click.echo(f"\n{formatter.getvalue()}".rstrip("\n"))
        ctx.exit()


def _optional(ctx: click.Context) -> Iterator[Setting]:
    """Yield every setting that has an option."""
    plugins = ctx.meta.get(_PLUGINS)
    added = plugins.settings if isinstance(plugins, Plugins) else ()
    for setting in (*CORE_SETTINGS, *_without_core(added)):
        if setting.options:
            yield setting


def _without_core(settings: Iterable[Setting]) -> list[Setting]:
    core = {setting.name for setting in CORE_SETTINGS}
    return [setting for setting in settings if setting.name not in core]


def _option(setting: Setting) -> click.Option:
    """Return the option of one setting. It does not parse: `read_settings` does, with all places at once."""
    names, hidden = [*setting.options, setting.name], bool(setting.refused)
    if setting.flag is not None:
        return click.Option(names, is_flag=True, help=setting.help, hidden=hidden)
    default = "" if setting.default is None else f" [default: {setting.default}]"
    metavar = setting.metavar or setting.kind.upper()
    return click.Option(names, metavar=metavar, help=f"{setting.help}{default}", hidden=hidden, type=str)


@click.command("worker", cls=WorkerCommand)
@click.pass_context
def command(ctx: click.Context, /, **values: object) -> int:
    """Run a worker until it is told to stop: once by TERM or INT warmly, by QUIT or a second INT at once.

    Each option is a setting, which can also be given in kernel.toml, under [tool.kernel] in pyproject.toml, or as
    KERNEL_NAME in the environment; `kernel settings` shows where each value comes from.
    """
    # Before the application is loaded, which may have a wish of its own.
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    invocation = ctx.ensure_object(Invocation)
    given = dict(invocation.settings)
    for setting in _optional(ctx):
        if setting.name in values and ctx.get_parameter_source(setting.name) is ParameterSource.COMMANDLINE:
            raw = values[setting.name] if setting.flag is None else setting.flag
            given[setting.name] = (spelling_used(invocation.arguments, setting.options), raw)
    boot = prepare(invocation.app, plugins=ctx.meta[_PLUGINS], command_line=given)
    if must_patch_first(boot, invocation.patched):
        if invocation.again:
            raise KernelBug(f"the worker was executed again for pool {boot.pool.name}, and is not patched all the same")
        if not boot.auto:
            warn_of_late_choice()
        execute_again(boot.pool.name, invocation.arguments, named=not boot.auto)
    if boot.auto and invocation.patched not in ("", boot.pool.name):
        raise UsageError(
            f"-P auto chose {invocation.patched}, and {boot.pool.name} once that had patched the standard library\n"
            "the tasks seem to depend on the patch: name the pool with -P"
        )
    return serve(boot)


def serve(boot: Boot) -> int:
    """Run a worker and return its exit code."""
    from ..plugins.discovery import kernel_version
    from ..worker import Worker
    from .banner import banner

    settings = boot.settings
    set_up_logging(
        settings.get_str("worker_log_level") or "WARNING", settings.get_str("worker_log_format") or "%(message)s"
    )
    worker = Worker(boot.app, boot.settings, boot.plugins, pool=boot.pool, platform=boot.platform, sole=True)
    for line in banner(worker, why_pool=boot.why_pool, version=kernel_version()):
        click.echo(line, err=True)
    for warning in boot.warnings:
        click.echo(f"warning: {warning}", err=True)
    if boot.settings.get_bool("worker_purge"):
        from .purge import purge_queues

        purged = purge_queues(boot.app.connection(), list(boot.app.queues()), worker.broker.url)
        click.echo(f"purge: {sum(purged.values())} messages thrown away", err=True)
    return worker.run()


def must_patch_first(boot: Boot, patched: str) -> bool:
    """Whether a green pool was chosen too late to patch: by the application's own code, or by ``-P auto``."""
    capabilities, source = boot.pool.capabilities, boot.settings.source("worker_pool")
    late = boot.auto or source.layer is Layer.APP
    hosted = boot.settings["worker_processes"] is not None
    return capabilities.is_green and patched != boot.pool.name and late and not hosted


def warn_of_late_choice() -> None:
    """Warn as Celery does; where warnings are errors, that one is told, and the worker goes on all the same."""
    try:
        warnings.warn(GREEN_WARNING, UserWarning, stacklevel=2)
    except UserWarning as warning:
        click.echo(f"UserWarning: {warning}", err=True)


def execute_again(pool: str, arguments: Sequence[str], *, named: bool) -> None:
    """Replace this process by one with the same command line, patched for ``pool`` from the start; does not return.

    Args:
        pool: a green one.
        arguments: the command line, without the program's name.
        named: whether ``-P pool`` is added; otherwise the new process chooses once more, and chooses the same.
    """
    interpreter = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *interpreter[1:], *(with_pool(arguments, pool) if named else arguments)]
    os.execve(sys.executable, command, {**os.environ, EXECUTED_AGAIN: pool})  # noqa: S606  (ourselves, once)
