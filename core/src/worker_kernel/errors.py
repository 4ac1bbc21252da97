"""Every error of worker-kernel, in one tree.

::

    KernelError                     exit code 1 unless the class says otherwise
    ├── UsageError                  2  the user asked for something that cannot be had
    │   ├── SettingsError           2  one or more settings are wrong (all are reported at once)
    │   ├── OptionRefused           2  the chosen pool cannot honour an option
    │   └── PluginNotFound          2  a selected plugin is not installed
    ├── PluginError                 3  a selected or required plugin cannot be used
    │   ├── PluginBroken            3  it raised, or ended the interpreter, at import
    │   ├── PluginIncompatible      3  it was written for another kernel or contract
    │   └── PluginConflict          3  two distributions claim one name
    ├── GraphError                  3
    │   ├── StepCycle               3  steps wait for each other
    │   └── MissingRequirement      3  a step wants another that nobody provides
    │       └── OptionNeedsStep     3  an option wants a step that nobody provides
    ├── StepFailed                  1  a step raised while it was created or started
    ├── AppNotLoaded                4  the application cannot be imported or found
    ├── BrokerUnavailable           5  the broker cannot be reached, or was given up
    ├── StoreUnavailable            5  the result store cannot be reached
    │   └── StoreUnknown            2  result_backend names none that there is
    ├── Unsupported                 1  a pool was asked for something it did not declare
    ├── PoolClosed                  1  a job was submitted to a pool that takes no more
    ├── ControlError                1  a control command was not carried out, or failed
    ├── MessageInvalid              -  a message cannot be understood
    ├── LeaseLost                   -  a late settlement or result, refused by a fencing token
    ├── TaskNotRegistered           -  a message or a caller names a task that the app does not have
    └── KernelBug                   1  this should never happen

    TaskError                       what a task's result says when the worker ended it
    ├── SoftTimeLimitExceeded       raised in the task, which may catch it
    ├── TimeLimitExceeded           the task was ended
    ├── MemoryLimitExceeded         the task's process grew too large, and was ended
    ├── WorkerLostError             whatever ran the task died with it
    ├── TaskRevoked                 the task was cancelled, or expired
    ├── UnsupportedOption           the message asks for something that is refused
    ├── ChordFailed                 a task failed whose result the chord's body was waiting for
    └── MaxRetriesExceeded          a task asked for one retry too many

    TaskSignal                      what a task raises to say how it ends
    ├── Retry  ├── Reject  └── Ignore

    JobKilled (BaseException)       raised by a pool inside a job's call to end it
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .application import Envelope


class ExitCode(enum.IntEnum):
    """What the process exits with."""

    DRAINED = 0
    """Stopped with nothing left to do."""
    FAULT = 1
    """An error that has no code of its own, or code that held the GIL past its limit."""
    USAGE = 2
    """Usage, a setting, a refused option, a selected plugin that is absent."""
    PLUGIN = 3
    """A plugin is broken, incompatible or in conflict; a cycle of steps; a missing requirement."""
    APP = 4
    """The application does not load."""
    BROKER = 5
    """The broker or the result store is unreachable, or was given up."""
    WATCHDOG = 6
    """The worker had messages and slots and consumed nothing."""
    CHILD_BUDGET = 7
    """Child processes died too often before they were ready."""
    HANDED_BACK = 8
    """Stopped with started work handed back."""
    HARD_LIMIT = 9
    """A hard time limit ended the process."""


class KernelError(Exception):
    """Base of all errors that worker-kernel raises on purpose.

    The message says who, what, why and what to do, in at most five lines.
    """

    exit_code: int = 1
    """Exit status of the command line when this error ends it."""


class UsageError(KernelError):
    """The user asked for something that cannot be had."""

    exit_code = 2


class SettingsError(UsageError):
    """One or more settings are wrong; ``problems`` holds a sentence with a location for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class OptionRefused(UsageError):
    """The chosen pool cannot honour an option that was asked of it.

    Unlike `SettingsError`, the value is well-formed; another pool could honour it.
    """

    def __init__(self, option: str, pool: str, reason: str, able: Sequence[str] = ()) -> None:
        self.option, self.pool, self.reason, self.able = option, pool, reason, tuple(able)
        if not pool:
            remedy = "leave it out"  # no pool decides it
        elif self.able:
            remedy = f"pools installed that can: {', '.join(self.able)}"
        else:
            remedy = "no installed pool can: leave it out"
        super().__init__(f"{option} is refused: {reason}\n{remedy}, or downgrade this to a warning with --best-effort")


class PluginNotFound(UsageError):
    """A plugin that was selected by name is not installed (`PluginBroken` is: installed, but does not load)."""


class PluginError(KernelError):
    """A plugin that is selected or required cannot be used."""

    exit_code = 3

    def __init__(self, message: str, *, plugin: str = "", dist: str = "", version: str = "") -> None:
        self.plugin, self.dist, self.version = plugin, dist, version
        super().__init__(message)


class PluginBroken(PluginError):
    """A plugin raised, or tried to end the interpreter, while it was imported or registered."""


class PluginIncompatible(PluginError):
    """A plugin was written for another version of the kernel, or of its contract."""


class PluginConflict(PluginError):
    """Two distributions claim one name; nobody wins silently."""


class GraphError(KernelError):
    """The steps of a blueprint cannot be put in order."""

    exit_code = 3


class StepCycle(GraphError):
    """Steps wait for each other; ``path`` begins and ends with the same step."""

    def __init__(self, path: Sequence[str], asked: Sequence[str]) -> None:
        self.path, self.asked = tuple(path), tuple(asked)
        lines = [f"steps wait for each other: {' -> '.join(self.path)}", *(f"  {edge}" for edge in self.asked[:3])]
        super().__init__("\n".join([*lines, "disable one of these plugins with KERNEL_PLUGINS=-NAME"]))


class MissingRequirement(GraphError):
    """A step requires another that is not there: no installed plugin provides it, or ``absent`` says why not."""

    def __init__(self, step: str, wants: str, owner: str, install: str | None, absent: str = "") -> None:
        self.step, self.wants, self.owner, self.install, self.absent = step, wants, owner, install, absent
        if absent:
            super().__init__(f"step {step!r} of {owner} requires step {wants!r}, which is not there: {absent}")
            return
        remedy = f"install it: pip install {install}" if install else f"install a plugin that provides step {wants!r}"
        super().__init__(f"step {step!r} of {owner} requires step {wants!r}, which no plugin provides\n{remedy}")


class OptionNeedsStep(MissingRequirement):
    """An option needs a step that a known distribution would provide; unlike `OptionRefused`, the pool is willing."""

    def __init__(self, option: str, wants: str, install: str | None, absent: str = "") -> None:
        self.step, self.wants, self.owner, self.install, self.absent = option, wants, "", install, absent
        why = (
            f"is not there: {absent}" if absent else f"no installed plugin provides\ninstall it: pip install {install}"
        )
        KernelError.__init__(self, f"{option} needs the step {wants!r}, which {why}")


class StepFailed(KernelError):
    """A step raised while it was created or started; what had been started was stopped again. The cause is chained."""

    def __init__(self, step: str, owner: str, phase: str, cause: BaseException) -> None:
        self.step, self.owner, self.phase = step, owner, phase
        super().__init__(f"step {step!r} of {owner} failed to {phase}: {type(cause).__name__}: {cause}")


class AppNotLoaded(KernelError):
    """The application that ``-A`` names cannot be imported, or is not one."""

    exit_code = 4


class BrokerUnavailable(KernelError):
    """The broker cannot be reached at start, or was given up after the configured number of attempts."""

    exit_code = 5


class StoreUnavailable(KernelError):
    """The result store cannot be reached."""

    exit_code = 5


class StoreUnknown(StoreUnavailable):
    """``result_backend`` names no result store that there is: to be corrected, as `UsageError` says of the broker."""

    exit_code = UsageError.exit_code


class Unsupported(KernelError):
    """A pool was asked for a capability that it does not declare."""

    def __init__(self, capability: str, pool: str = "") -> None:
        self.capability, self.pool = capability, pool
        super().__init__(f"{pool or 'this pool'} does not support {capability!r}")


class PoolClosed(KernelError):
    """A job was submitted to a pool that takes no more jobs."""


class ControlError(KernelError):
    """A control command was not carried out, or failed; the message goes to whoever sent it.

    Attributes:
        kind: ``unknown command``, ``bad request``, ``bad arguments``, ``refused``, ``timeout``, ``failed``, or
            ``unreachable``.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class MessageInvalid(KernelError):
    """A message cannot be understood; ``reason`` is one line for the log and for the quarantine header.

    ``salvaged`` is what `Application.parse` could still read of it, where an id is known: enough to tell the sender.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.salvaged: Envelope | None = None
        super().__init__(reason)


class LeaseLost(KernelError):
    """A settlement or a result came after the message's lease had passed to somebody else, and was refused.

    Raised by result stores that share a file or server with the broker and know its fencing tokens. Nothing was
    written. The job's outcome must not be reported any further: whoever holds the message now will report one.
    """


class TaskNotRegistered(KernelError):
    """A message or a caller names a task that the application does not have."""


class KernelBug(KernelError):
    """An invariant of worker-kernel does not hold. Please report it, with the traceback."""


class TaskError(Exception):
    """Base of the errors that a task's result carries when the worker, not the task, decided its end."""


class SoftTimeLimitExceeded(TaskError):
    """The soft time limit has passed; the task may catch this and tidy up before the hard limit.

    The name and the meaning are Celery's.
    """


class TimeLimitExceeded(TaskError):
    """The hard time limit has passed and the task was ended. The name and the meaning are Celery's."""


class MemoryLimitExceeded(TaskError):
    """The task's process grew past ``worker_memory_limit_per_child`` and was ended, and the task with it."""


class WorkerLostError(TaskError):
    """Whatever ran the task (a process, a slot) died while it did; Celery's name is ``WorkerLostError``."""


class TaskRevoked(TaskError):
    """The task was cancelled or had expired; Celery's name is ``TaskRevokedError``."""


class UnsupportedOption(TaskError):
    """The message asks for something that is refused: a time limit of the pool, a chord of the result store."""


class ChordFailed(TaskError):
    """A task failed whose result the body of a chord was waiting for; Celery's name is ``ChordError``."""


class MaxRetriesExceeded(TaskError):
    """The task asked to be retried more often than its ``max_retries`` allows."""


class TaskSignal(Exception):
    """Base of what a task raises to say how it ends."""


class Retry(TaskSignal):
    """The task has been sent again; raised by ``self.retry()``.

    Attributes:
        exc: the exception because of which the task is retried, or None.
        when: seconds until the next run (float), or an aware datetime.
    """

    def __init__(self, message: str = "", exc: BaseException | None = None, when: object = None) -> None:
        self.exc, self.when = exc, when
        super().__init__(message)


class Reject(TaskSignal):
    """The task refuses its message: put it back (``requeue=True``) or in the dead-letter place."""

    def __init__(self, reason: object = "", requeue: bool = False) -> None:
        self.reason, self.requeue = reason, requeue
        super().__init__(reason)


class Ignore(TaskSignal):
    """The task asks that no result be stored; its message is acknowledged."""


class JobKilled(BaseException):
    """Raised by a pool inside a job's call to end it; `Job.finish` turns it into the right outcome.

    A BaseException, so that a task's ``except Exception`` does not swallow it.

    Attributes:
        reason: ``"time_limit"``, ``"cancel"``, or ``"stop"``: the worker stops, so that nothing is stored and the
            message goes back.
        limit: the hard limit in seconds that passed, when ``reason`` is ``"time_limit"``.
    """

    def __init__(self, reason: str = "cancel", limit: float | None = None) -> None:
        self.reason, self.limit = reason, limit
        super().__init__(reason)
