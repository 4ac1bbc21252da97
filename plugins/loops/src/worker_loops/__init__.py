"""The consumer of worker-kernel: connection, requests, flow control, and the loops that drive them.

The way of a message, downwards: `connection` (one generation) delivers to `tasks`, which makes a `request`;
`admission` decides what becomes of it now, `flow` grants it a slot, the pool runs it, and `settle` says what becomes of
its message.
"""

from worker_kernel import (
    BlueprintName,
    ControlCommandSpec,
    LoopSpec,
    StepSpec,
    implements,
    kernel_control_commands,
    kernel_loops,
    kernel_steps,
)

CONTRACT = 1

__all__ = ["CONTRACT", "control_commands", "loops", "steps"]


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
            name="remote",
            blueprint=BlueprintName.CONSUMER,
            factory="worker_loops.remote:RemoteStep",
            requires=("connection", "tasks"),
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


@implements(kernel_control_commands)
def control_commands() -> list[ControlCommandSpec]:
    """What concerns messages, tasks and queues."""

    def command(name: str, summary: str, *aliases: str) -> ControlCommandSpec:
        factory = f"worker_loops.control:{name}"
        return ControlCommandSpec(name=name, factory=factory, summary=summary, aliases=aliases)

    return [
        command("active", "List what runs."),
        command("reserved", "List what is here and does not run: what waits for a slot or for its time."),
        command("scheduled", "List what is held here until its time."),
        command("revoked", "List the ids that are remembered as revoked."),
        command("revoke", "Let tasks (ids) not run; with terminate=true also end those that run."),
        command("active_queues", "List the queues that are consumed from."),
        command("add_queue", "Consume from one more queue.", "add_consumer"),
        command("cancel_queue", "Consume no more from a queue.", "cancel_consumer"),
        command("rate_limit", "Change how often a task may start on this worker; 0: no limit."),
        command("time_limit", "Change the limits of a task on this worker, in seconds; null: none."),
    ]
