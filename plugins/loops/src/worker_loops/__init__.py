"""The consumer of worker-kernel: connection, requests, flow control, and the loops that drive them.

The way of a message, downwards: `connection` (one generation) delivers to `tasks`, which makes a `request`;
`admission` decides what becomes of it now, `flow` grants it a slot, the pool runs it, and `settle` says what becomes of
its message.
"""

from worker_kernel import (
    BlueprintName,
    LoopSpec,
    StepSpec,
    implements,
    kernel_loops,
    kernel_steps,
)

CONTRACT = 1

__all__ = ["CONTRACT", "loops", "steps"]


@implements(kernel_steps)
def steps() -> list[StepSpec]:
    """The step that consumes, and the steps of each connection generation."""
    return [
        StepSpec(
            name="consumer",
            blueprint=BlueprintName.WORKER,
            factory="worker_loops.consumer:ConsumerStep",
            requires=("pool", "timer"),
            after=("hub",),
            last=True,
        ),
        StepSpec(
            name="connection",
            blueprint=BlueprintName.CONSUMER,
            factory="worker_loops.connection:ConnectionStep",
        ),
        StepSpec(
            name="tasks",
            blueprint=BlueprintName.CONSUMER,
            factory="worker_loops.tasks:TasksStep",
            requires=("connection",),
        ),
        StepSpec(
            name="loop",
            blueprint=BlueprintName.CONSUMER,
            factory="worker_loops.tasks:LoopStep",
            requires=("connection", "tasks"),
            last=True,
        ),
    ]


@implements(kernel_loops)
def loops() -> list[LoopSpec]:
    """The asynchronous and the blocking loop."""
    return [
        LoopSpec(name="asynloop", factory="worker_loops.asynloop:asynloop", asynchronous=True),
        LoopSpec(name="synloop", factory="worker_loops.synloop:synloop", asynchronous=False),
    ]
