"""The control command ``autoscale``. It runs on the loop's thread."""

from __future__ import annotations

from collections.abc import Mapping

from worker_kernel import ControlError, Worker

from .step import Autoscaler


def autoscale(worker: Worker, max: object = None, min: object = None) -> Mapping[str, object]:  # noqa: A002  (Celery's)
    """Change the bounds; a size beyond them is brought within at once. What is left out stays as it is."""
    autoscaler = worker.blueprint.component("autoscaler")
    if not isinstance(autoscaler, Autoscaler):
        raise ControlError("refused", "the worker does not scale: start it with --autoscale MAX,MIN")
    maximum, minimum = autoscaler.scaler.update(_slots("max", max), _slots("min", min), worker.clock.monotonic())
    return {"max": maximum, "min": minimum, "current": autoscaler.scaler.size}


def _slots(name: str, given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ControlError("bad arguments", f"{name} must be a whole number >= 1, not {given!r}")
    return given
