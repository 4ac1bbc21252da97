"""The autoscaler of worker-kernel: declares the step ``autoscaler``, its policies, settings and command.

Importing this module imports nothing that is heavy.
"""

from __future__ import annotations

from worker_kernel import (
    AutoscalePolicySpec,
    BlueprintName,
    ControlCommandSpec,
    Setting,
    StepSpec,
    implements,
    kernel_autoscale_policies,
    kernel_control_commands,
    kernel_settings,
    kernel_steps,
    kinds,
)

__all__ = ["CONTRACT", "autoscale_policies", "control_commands", "settings", "steps"]

CONTRACT = 1


@implements(kernel_steps)
def steps() -> list[StepSpec]:
    """Declare the step; it takes part only with ``--autoscale``."""
    return [
        StepSpec(
            name="autoscaler",
            blueprint=BlueprintName.WORKER,
            factory="worker_autoscale.step:AutoscalerStep",
            requires=("pool", "timer"),
        )
    ]


@implements(kernel_autoscale_policies)
def autoscale_policies() -> list[AutoscalePolicySpec]:
    """Declare the two policies."""
    return [
        AutoscalePolicySpec(
            name="load",
            factory="worker_autoscale.load:LoadPolicy",
            summary="By busy slots and by what waits, how much and how long. The default.",
        ),
        AutoscalePolicySpec(
            name="resources",
            factory="worker_autoscale.resources:ResourcesPolicy",
            summary="The same within a budget of memory and CPU.",
        ),
    ]


@implements(kernel_control_commands)
def control_commands() -> list[ControlCommandSpec]:
    """Declare the command."""
    return [
        ControlCommandSpec(
            name="autoscale",
            factory="worker_autoscale.control:autoscale",
            summary="Change the bounds of the autoscaler: max, min.",
        )
    ]


@implements(kernel_settings)
def settings() -> list[Setting]:
    """Declare the settings."""
    return [
        Setting(
            name="worker_autoscale_keepalive",
            parse=kinds.seconds(zero=False),
            kind="seconds",
            default=30.0,
            unit="seconds",
            help="How long fewer slots must have been wanted, and how long ago the last growth must be, before any go.",
            options=("--autoscale-keepalive",),
            metavar="SECONDS",
            goes_with="worker_autoscale",
        ),
        Setting(
            name="worker_autoscale_memory",
            parse=kinds.optional(kinds.kib),
            kind="size",
            unit="KiB",
            help="Stay, with the policy resources, below this size of the worker and its processes together (200MB and "
            "1GiB are taken too). None: nine tenths of what the control group or the machine has.",
            options=("--autoscale-memory",),
            metavar="KIB",
            goes_with="worker_autoscale",
        ),
    ]
