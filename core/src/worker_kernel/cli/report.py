"""How errors are told: at most five lines on stderr that say what, why and what to do, and an exit code."""

from __future__ import annotations

import errno
import traceback

import click

from ..errors import ExitCode, KernelError

LINES = 5
"""An error that a user can cause is never longer."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
ABORTED = 130
"""The shells' exit code for a command ended by an interrupt; a worker ends by itself before that."""


def report(exc: BaseException, *, with_traceback: bool) -> int:
    """Print what ``exc`` means on stderr and return the exit code.

    Args:
        exc: whatever ended the command.
        with_traceback: whether to print the traceback as well, before.
    """
    if isinstance(exc, click.exceptions.Exit):
        return exc.exit_code
    if isinstance(exc, OSError) and exc.errno == errno.EPIPE:
        return ExitCode.FAULT  # whoever read our output has left; there is nobody to tell
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        click.echo(exc.format_message(), err=True)
        return ExitCode.USAGE
    if with_traceback:
        click.echo("".join(traceback.format_exception(exc)).rstrip("\n"), err=True)
    for line in message(exc):
        click.echo(line, err=True)
    return exit_code(exc)


def exit_code(exc: BaseException) -> int:
    """Return the exit code that an error ends the process with."""
    if isinstance(exc, (KernelError, click.ClickException)):
        return int(exc.exit_code)
    if isinstance(exc, (click.Abort, KeyboardInterrupt)):
        return ABORTED
    return ExitCode.FAULT


def message(exc: BaseException) -> list[str]:
    """Return the lines that tell an error: at most `LINES`."""
    if isinstance(exc, (click.Abort, KeyboardInterrupt)):
        return ["aborted"]
    if isinstance(exc, KernelError):
        lines = str(exc).splitlines() or [type(exc).__name__]
    elif isinstance(exc, click.UsageError):
        path = exc.ctx.command_path if exc.ctx is not None else "kernel"
        lines = [*exc.format_message().splitlines(), f"{path} --help says what there is"]
    elif isinstance(exc, click.ClickException):
        lines = exc.format_message().splitlines()
    elif isinstance(exc, OSError) and exc.errno in _NO_ROOM:
        lines = [f"what there is to tell could not be written: {exc.strerror}"]
        lines += ["free some space, or send the output elsewhere"]
    else:
        lines = [f"unexpected {type(exc).__name__}: {' '.join(str(exc).split())[:200]}"]
        lines += ["this is a fault of worker-kernel or of a plugin: please report it with what --traceback shows"]
    lines += [note.splitlines()[0] for note in getattr(exc, "__notes__", ()) if note]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more"]
    return [f"error: {lines[0]}", *(f"  {line.strip()}" for line in lines[1:])]
