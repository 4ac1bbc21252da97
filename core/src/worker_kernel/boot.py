"""From what the user said to everything a `Worker` needs: plugins, application, settings, pool, negotiation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from .application import Application, TaskOptions
from .apploader import import_modules, load_app
from .choosing import choose_pool
from .core_settings import CORE_SETTINGS
from .errors import AppNotLoaded, UsageError
from .negotiation import Negotiated, negotiate
from .options import AUTO
from .platforms import Platform, current
from .plugins.loading import Plugins
from .pool import PoolSpec
from .settings import Settings
from .sources import read_settings

OWN_TASKS = "celery."
"""Tasks of this prefix come with an application and are none of its own."""


@attrs.frozen(kw_only=True)
class Boot:
    """All that was decided before a worker is built. Nothing is connected or started yet."""

    app: Application
    """What to run; not configured yet: the `Worker` does that."""
    settings: Settings
    """The effective settings, as negotiated with the pool."""
    plugins: Plugins
    """The plugins of this process."""
    pool: PoolSpec
    """The chosen pool."""
    why_pool: str
    """Why it was chosen."""
    auto: bool
    """Whether the worker chose it by the tasks that there are: ``-P auto``."""
    negotiated: Negotiated
    """What has become of each option."""
    platform: Platform
    """Where the worker is to believe to be."""
    warnings: tuple[str, ...]
    """One line each, from reading plugins and settings and from the negotiation."""


def prepare(
    app_name: str | None,
    *,
    plugins: Plugins,
    command_line: Mapping[str, tuple[str, object]] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    platform: Platform | None = None,
) -> Boot:
    """Load the application, read the settings, choose the pool, and negotiate.

    Args:
        app_name: what ``-A`` says; None: nothing.
        plugins: loaded already, because their settings make the options of the command line.
        command_line: setting name -> (spelling, what was given).
        environ: the environment; None: this process's.
        directory: where the configuration file is; None: the current directory.
        platform: where the worker is to believe to be; None: where it is.

    Raises:
        UsageError: no application was named, a setting is wrong, an option is refused, or the pool is not installed.
        PluginError: the pool is installed and cannot be used.
        MissingRequirement: an option needs a plugin that is not installed.
        AppNotLoaded: the application cannot be loaded, or has no task.
    """
    platform = platform or current()
    if not app_name:
        raise UsageError("no application was named\nname it with -A module or -A module:app, or in KERNEL_APP")
    app = load_app(app_name, plugins)
    settings, warnings = read_settings(
        [*CORE_SETTINGS, *plugins.settings],
        app=app.declared_settings(),
        app_name=app.name,
        command_line=command_line,
        environ=environ,
        directory=directory,
        elsewhere=plugins.may_have_it(),
    )
    include = settings["worker_include"]
    if isinstance(include, tuple):
        import_modules(include, f"worker_include ({settings.source('worker_include')})")
    tasks = _own_tasks(app, app_name)
    pool, why_pool = choose_pool(settings, plugins, platform, tasks)
    negotiated = negotiate(
        settings,
        pool,
        plugins=plugins,
        tasks=tasks,
        platform=platform,
        best_effort=settings.get_bool("worker_best_effort"),
        why_pool=why_pool,
    )
    return Boot(
        app=app,
        settings=negotiated.settings,
        plugins=plugins,
        pool=pool,
        why_pool=why_pool,
        auto=settings["worker_pool"] == AUTO,
        negotiated=negotiated,
        platform=platform,
        warnings=(*plugins.warnings, *warnings, *negotiated.warnings),
    )


def _own_tasks(app: Application, app_name: str) -> Mapping[str, TaskOptions]:
    tasks = {name: options for name, options in app.tasks().items() if not name.startswith(OWN_TASKS)}
    if not tasks:
        raise AppNotLoaded(
            f"-A {app_name}: the application {app.name!r} has no tasks: no @app.task was found\n"
            "name the modules with tasks in worker_include (-I), or import them where the application is made"
        )
    return tasks
