"""The commands of one worker, by name: the kernel's own, and those that plugins declare."""

from __future__ import annotations

import concurrent.futures
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ControlError, KernelError
from ..hookspecs import ControlCommandSpec
from ..suggestions import did_you_mean

if TYPE_CHECKING:
    from ..worker import Worker

log = logging.getLogger("worker_kernel.control")

LOOP_PATIENCE = 10.0
"""Seconds that a command waits for the loop to turn, before it is given up without having been carried out."""
AWAITED: Mapping[str, str] = {"autoscale": "autoscaler"}
"""Commands that come with a step of another distribution: asking for one says so, rather than that it is unknown."""


class Commands:
    """Finds commands, checks their arguments, and carries them out. `execute` may be called from any thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._specs: dict[str, ControlCommandSpec] = {}
        for spec in worker.plugins.control_commands:
            for name in (spec.name, *spec.aliases):
                self._specs[name] = spec

    def usages(self) -> dict[str, dict[str, str]]:
        """Return for each command, by name, how it is called and what it does."""
        specs = {spec.name: spec for spec in self._specs.values()}
        return {
            name: {"usage": _usage(name, self._function(spec)), "summary": spec.summary}
            for name, spec in sorted(specs.items())
        }

    def execute(self, name: str, arguments: Mapping[str, Any], *, patience: float = LOOP_PATIENCE) -> object:
        """Carry out a command where it belongs and return what it says, JSON-safe.

        Args:
            name: which.
            arguments: by name.
            patience: seconds to wait for the loop, where the command belongs there.

        Raises:
            ControlError: it was not carried out, or failed; nothing else is raised.
        """
        spec = self._find(name)
        if spec.anywhere:
            return self._call(name, spec, arguments)
        future = self._worker.loop_calls.put(lambda: self._call(name, spec, arguments))
        try:
            return future.result(patience)
        except concurrent.futures.CancelledError:
            raise ControlError("refused", f"{name} was not carried out: the worker has ended its work") from None
        except TimeoutError:
            done = "was not carried out" if future.cancel() else "is being carried out, and has not ended yet"
            raise ControlError("timeout", f"{name} {done}: the loop has been busy for {patience:g} s") from None

    def execute_here(self, name: str, arguments: Mapping[str, Any]) -> object:
        """The same on the loop's thread, for callers that are there already. See `execute`."""
        return self._call(name, self._find(name), arguments)

    def _find(self, name: str) -> ControlCommandSpec:
        spec = self._specs.get(name)
        if spec is not None:
            return spec
        if name in AWAITED:
            step, plugins = AWAITED[name], self._worker.plugins
            dist, absent = plugins.install_hint(step), plugins.why_absent(step)
            remedy = f": pip install {dist}" if dist else ""
            why = f"is not there: {'; '.join(absent.splitlines())}" if absent else f"no plugin provides{remedy}"
            raise ControlError("refused", f"{name} needs the step {step!r}, which {why}")
        hint = did_you_mean(name, self._specs) or "; the command 'commands' lists what there is"
        raise ControlError("unknown command", f"there is no command {name!r}{hint}")

    def _function(self, spec: ControlCommandSpec) -> Callable[..., object]:
        function = self._worker.plugins.load_object(spec.factory, spec.owner)
        if not callable(function):
            raise ControlError("failed", f"{spec.factory} of {spec.owner} is no function")
        return function

    def _call(self, name: str, spec: ControlCommandSpec, arguments: Mapping[str, Any]) -> object:
        try:
            function = self._function(spec)
            try:
                bound = inspect.signature(function).bind(self._worker, **arguments)
            except TypeError as exc:
                raise ControlError("bad arguments", f"{exc}; usage: {_usage(name, function)}") from None
            return function(*bound.args, **bound.kwargs)
        except ControlError:
            raise
        except (KernelError, ValueError) as exc:
            raise ControlError("refused", str(exc).partition("\n")[0]) from exc
        except Exception as exc:
            log.exception("the control command %r failed", name)
            raise ControlError("failed", f"{name}: {type(exc).__name__}: {exc}") from exc


def _usage(name: str, function: Callable[..., object]) -> str:
    words = [name]
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            words.append("...")
        elif parameter.default is parameter.empty:
            words.append(f"{parameter.name}=...")
        else:
            words.append(f"[{parameter.name}={parameter.default}]")
    return " ".join(words)
