"""What the pool can do. The conformance kit holds it to every word; what is not declared is refused."""

from worker_kernel import Capabilities, Effect, Fitness, Stuck, Support

RAISED = {Stuck.YIELDS: Effect.RAISED, Stuck.BUSY: Effect.RAISED}  # a thread hears of it when it next runs Python
CAPABILITIES = Capabilities(
    cpu_bound=Fitness.GOOD,
    io_bound=Fitness.GOOD,
    concurrency_scale="10s",
    concurrency=Support.NATIVE,
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    resize=Support.NATIVE,
    restart=Support.NATIVE,
    max_tasks_per_child=Support.NATIVE,
    soft_effects=dict.fromkeys(Stuck, Effect.UNDELIVERABLE) | RAISED,
    hard_effects=dict.fromkeys(Stuck, Effect.ZOMBIE) | RAISED | {Stuck.C_WITH_GIL: Effect.PROCESS_ENDS},
)
