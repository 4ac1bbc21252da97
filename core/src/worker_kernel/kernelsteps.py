"""The steps that the kernel itself brings."""

from __future__ import annotations

from .bootsteps import BlueprintName, StepSpec

POOL_STEP = StepSpec(
    name="pool",
    blueprint=BlueprintName.WORKER,
    factory="worker_kernel.poolstep:PoolStep",
    after=("timer", "hub"),
    owner="worker-kernel",
)
"""The pool."""

KERNEL_STEPS: tuple[StepSpec, ...] = (
    POOL_STEP,
    StepSpec(
        name="state",
        blueprint=BlueprintName.WORKER,
        factory="worker_kernel.statestep:StateStep",
        after=("timer",),
        before=("pool",),  # so that it stops after the pool, and tells of its end
        owner="worker-kernel",
    ),
    StepSpec(
        name="control",
        blueprint=BlueprintName.WORKER,
        factory="worker_kernel.control.step:ControlStep",
        after=("state", "pool"),
        owner="worker-kernel",
    ),
)
"""See the module."""
