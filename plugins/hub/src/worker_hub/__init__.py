"""The event loop of worker-kernel: declares the steps ``timer`` and ``hub``.

Importing this module imports neither kombu nor anything else that is heavy.
"""

from __future__ import annotations

from worker_kernel import BlueprintName, StepSpec, implements, kernel_steps

__all__ = ["CONTRACT", "hub_steps"]

CONTRACT = 1


@implements(kernel_steps)
def hub_steps() -> list[StepSpec]:
    """Declare the two steps; ``hub`` takes part only where the worker uses an event loop."""
    return [
        StepSpec(name="timer", blueprint=BlueprintName.WORKER, factory="worker_hub.steps:TimerStep"),
        StepSpec(name="hub", blueprint=BlueprintName.WORKER, factory="worker_hub.steps:HubStep", requires=("timer",)),
    ]
