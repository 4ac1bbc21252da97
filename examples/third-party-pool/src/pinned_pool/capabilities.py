"""What the pool can do. The conformance kit holds it to every word; what is not declared is refused."""

import attrs

from worker_kernel import SLOT_POOL, Fitness

CAPABILITIES = attrs.evolve(SLOT_POOL, cpu_bound=Fitness.GOOD, io_bound=Fitness.GOOD, concurrency_scale="10s")
