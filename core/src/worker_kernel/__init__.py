"""worker-kernel: a task worker made of plugins.

This is the face of the distribution: every public name, imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .application import (
        Application as Application,
    )
    from .application import (
        BrokerInfo as BrokerInfo,
    )
    from .application import (
        Envelope as Envelope,
    )
    from .application import (
        Fence as Fence,
    )
    from .application import (
        TaskOptions as TaskOptions,
    )
    from .blueprint import (
        Blueprint as Blueprint,
    )
    from .bootsteps import (
        BlueprintName as BlueprintName,
    )
    from .bootsteps import (
        Step as Step,
    )
    from .bootsteps import (
        StepContext as StepContext,
    )
    from .bootsteps import (
        StepSpec as StepSpec,
    )
    from .capabilities import (
        Capabilities as Capabilities,
    )
    from .capabilities import (
        Effect as Effect,
    )
    from .capabilities import (
        Fitness as Fitness,
    )
    from .capabilities import (
        Stuck as Stuck,
    )
    from .capabilities import (
        Support as Support,
    )
    from .clock import (
        Clock as Clock,
    )
    from .clock import (
        SystemClock as SystemClock,
    )
    from .control.registry import (
        Commands as Commands,
    )
    from .declaring import (
        declare_queue as declare_queue,
    )
    from .errors import (
        AppNotLoaded as AppNotLoaded,
    )
    from .errors import (
        BrokerUnavailable as BrokerUnavailable,
    )
    from .errors import (
        ControlError as ControlError,
    )
    from .errors import (
        ExitCode as ExitCode,
    )
    from .errors import (
        GraphError as GraphError,
    )
    from .errors import (
        Ignore as Ignore,
    )
    from .errors import (
        JobKilled as JobKilled,
    )
    from .errors import (
        KernelBug as KernelBug,
    )
    from .errors import (
        KernelError as KernelError,
    )
    from .errors import (
        LeaseLost as LeaseLost,
    )
    from .errors import (
        MaxRetriesExceeded as MaxRetriesExceeded,
    )
    from .errors import (
        MessageInvalid as MessageInvalid,
    )
    from .errors import (
        MissingRequirement as MissingRequirement,
    )
    from .errors import (
        OptionNeedsStep as OptionNeedsStep,
    )
    from .errors import (
        OptionRefused as OptionRefused,
    )
    from .errors import (
        PluginBroken as PluginBroken,
    )
    from .errors import (
        PluginConflict as PluginConflict,
    )
    from .errors import (
        PluginError as PluginError,
    )
    from .errors import (
        PluginIncompatible as PluginIncompatible,
    )
    from .errors import (
        PluginNotFound as PluginNotFound,
    )
    from .errors import (
        PoolClosed as PoolClosed,
    )
    from .errors import (
        Reject as Reject,
    )
    from .errors import (
        Retry as Retry,
    )
    from .errors import (
        SettingsError as SettingsError,
    )
    from .errors import (
        SoftTimeLimitExceeded as SoftTimeLimitExceeded,
    )
    from .errors import (
        StepCycle as StepCycle,
    )
    from .errors import (
        StepFailed as StepFailed,
    )
    from .errors import (
        StoreUnavailable as StoreUnavailable,
    )
    from .errors import (
        TaskError as TaskError,
    )
    from .errors import (
        TaskNotRegistered as TaskNotRegistered,
    )
    from .errors import (
        TaskRevoked as TaskRevoked,
    )
    from .errors import (
        TaskSignal as TaskSignal,
    )
    from .errors import (
        TimeLimitExceeded as TimeLimitExceeded,
    )
    from .errors import (
        Unsupported as Unsupported,
    )
    from .errors import (
        UnsupportedOption as UnsupportedOption,
    )
    from .errors import (
        UsageError as UsageError,
    )
    from .errors import (
        WorkerLost as WorkerLost,
    )
    from .hookspecs import (
        CONTRACT as CONTRACT,
    )
    from .hookspecs import (
        AutoscalePolicySpec as AutoscalePolicySpec,
    )
    from .hookspecs import (
        ControlCommandSpec as ControlCommandSpec,
    )
    from .hookspecs import (
        ResultStoreSpec as ResultStoreSpec,
    )
    from .hookspecs import (
        Start as Start,
    )
    from .hookspecs import (
        TransportSpec as TransportSpec,
    )
    from .hookspecs import (
        kernel_autoscale_policies as kernel_autoscale_policies,
    )
    from .hookspecs import (
        kernel_child_exit as kernel_child_exit,
    )
    from .hookspecs import (
        kernel_child_init as kernel_child_init,
    )
    from .hookspecs import (
        kernel_choose_loop as kernel_choose_loop,
    )
    from .hookspecs import (
        kernel_control_commands as kernel_control_commands,
    )
    from .hookspecs import (
        kernel_load_app as kernel_load_app,
    )
    from .hookspecs import (
        kernel_loops as kernel_loops,
    )
    from .hookspecs import (
        kernel_may_start as kernel_may_start,
    )
    from .hookspecs import (
        kernel_pools as kernel_pools,
    )
    from .hookspecs import (
        kernel_result_stores as kernel_result_stores,
    )
    from .hookspecs import (
        kernel_settings as kernel_settings,
    )
    from .hookspecs import (
        kernel_slot_end as kernel_slot_end,
    )
    from .hookspecs import (
        kernel_slot_start as kernel_slot_start,
    )
    from .hookspecs import (
        kernel_steps as kernel_steps,
    )
    from .hookspecs import (
        kernel_task_accepted as kernel_task_accepted,
    )
    from .hookspecs import (
        kernel_task_finished as kernel_task_finished,
    )
    from .hookspecs import (
        kernel_task_received as kernel_task_received,
    )
    from .hookspecs import (
        kernel_transports as kernel_transports,
    )
    from .hookspecs import (
        kernel_worker_init as kernel_worker_init,
    )
    from .hookspecs import (
        kernel_worker_ready as kernel_worker_ready,
    )
    from .hookspecs import (
        kernel_worker_stopped as kernel_worker_stopped,
    )
    from .hookspecs import (
        kernel_worker_stopping as kernel_worker_stopping,
    )
    from .hub import (
        Hub as Hub,
    )
    from .hub import (
        HubScope as HubScope,
    )
    from .hub import (
        TimerHandle as TimerHandle,
    )
    from .hub import (
        Timers as Timers,
    )
    from .inbox import (
        Accepted as Accepted,
    )
    from .inbox import (
        Failing as Failing,
    )
    from .inbox import (
        Finished as Finished,
    )
    from .inbox import (
        PoolEvent as PoolEvent,
    )
    from .inbox import (
        PoolInbox as PoolInbox,
    )
    from .inbox import (
        Resized as Resized,
    )
    from .job import (
        Job as Job,
    )
    from .job import (
        Raised as Raised,
    )
    from .lazybody import (
        keep_compressed as keep_compressed,
    )
    from .limits import (
        Limits as Limits,
    )
    from .limits import (
        Run as Run,
    )
    from .limits import (
        ThreadRun as ThreadRun,
    )
    from .loop import (
        Consumer as Consumer,
    )
    from .loop import (
        Drive as Drive,
    )
    from .loop import (
        LoopSpec as LoopSpec,
    )
    from .loop import (
        StopMode as StopMode,
    )
    from .loop import (
        StopRequest as StopRequest,
    )
    from .loopcalls import (
        LoopCalls as LoopCalls,
    )
    from .outcome import (
        Failure as Failure,
    )
    from .outcome import (
        Outcome as Outcome,
    )
    from .outcome import (
        OutcomeKind as OutcomeKind,
    )
    from .platforms import (
        Platform as Platform,
    )
    from .plugins.hooks import (
        Hooks as Hooks,
    )
    from .plugins.hooks import (
        implements as implements,
    )
    from .plugins.loading import (
        Plugins as Plugins,
    )
    from .pool import (
        CancelHow as CancelHow,
    )
    from .pool import (
        CancelReply as CancelReply,
    )
    from .pool import (
        Pool as Pool,
    )
    from .pool import (
        PoolConfig as PoolConfig,
    )
    from .pool import (
        PoolListener as PoolListener,
    )
    from .pool import (
        PoolSpec as PoolSpec,
    )
    from .pool import (
        PoolStatistics as PoolStatistics,
    )
    from .pool import (
        Slot as Slot,
    )
    from .pool import (
        SlotStatistics as SlotStatistics,
    )
    from .settings import (
        Layer as Layer,
    )
    from .settings import (
        Setting as Setting,
    )
    from .settings import (
        Settings as Settings,
    )
    from .settings import (
        Source as Source,
    )
    from .settings import (
        Value as Value,
    )
    from .slots import (
        Slots as Slots,
    )
    from .slots import (
        Ticket as Ticket,
    )
    from .status import (
        Status as Status,
    )
    from .status import (
        WorkerState as WorkerState,
    )
    from .tasks.app import (
        App as App,
    )
    from .tasks.results import (
        AsyncResult as AsyncResult,
    )
    from .tasks.results import (
        ResultStore as ResultStore,
    )
    from .tasks.task import (
        Task as Task,
    )
    from .worker import (
        Worker as Worker,
    )

_HOMES = {
    "Application": ".application",
    "BrokerInfo": ".application",
    "Envelope": ".application",
    "Fence": ".application",
    "TaskOptions": ".application",
    "Blueprint": ".blueprint",
    "BlueprintName": ".bootsteps",
    "Step": ".bootsteps",
    "StepContext": ".bootsteps",
    "StepSpec": ".bootsteps",
    "Capabilities": ".capabilities",
    "Effect": ".capabilities",
    "Fitness": ".capabilities",
    "Stuck": ".capabilities",
    "Support": ".capabilities",
    "Clock": ".clock",
    "SystemClock": ".clock",
    "AppNotLoaded": ".errors",
    "BrokerUnavailable": ".errors",
    "ExitCode": ".errors",
    "GraphError": ".errors",
    "Ignore": ".errors",
    "JobKilled": ".errors",
    "KernelBug": ".errors",
    "KernelError": ".errors",
    "LeaseLost": ".errors",
    "MaxRetriesExceeded": ".errors",
    "MessageInvalid": ".errors",
    "MissingRequirement": ".errors",
    "OptionNeedsStep": ".errors",
    "OptionRefused": ".errors",
    "PluginBroken": ".errors",
    "PluginConflict": ".errors",
    "PluginError": ".errors",
    "PluginIncompatible": ".errors",
    "PluginNotFound": ".errors",
    "PoolClosed": ".errors",
    "Reject": ".errors",
    "Retry": ".errors",
    "SettingsError": ".errors",
    "SoftTimeLimitExceeded": ".errors",
    "StepCycle": ".errors",
    "StepFailed": ".errors",
    "StoreUnavailable": ".errors",
    "TaskError": ".errors",
    "TaskNotRegistered": ".errors",
    "TaskRevoked": ".errors",
    "TaskSignal": ".errors",
    "TimeLimitExceeded": ".errors",
    "Unsupported": ".errors",
    "UnsupportedOption": ".errors",
    "UsageError": ".errors",
    "WorkerLost": ".errors",
    "AutoscalePolicySpec": ".hookspecs",
    "CONTRACT": ".hookspecs",
    "ControlCommandSpec": ".hookspecs",
    "ResultStoreSpec": ".hookspecs",
    "Start": ".hookspecs",
    "TransportSpec": ".hookspecs",
    "kernel_autoscale_policies": ".hookspecs",
    "kernel_child_exit": ".hookspecs",
    "kernel_child_init": ".hookspecs",
    "kernel_choose_loop": ".hookspecs",
    "kernel_control_commands": ".hookspecs",
    "kernel_load_app": ".hookspecs",
    "kernel_loops": ".hookspecs",
    "kernel_may_start": ".hookspecs",
    "kernel_pools": ".hookspecs",
    "kernel_result_stores": ".hookspecs",
    "kernel_settings": ".hookspecs",
    "kernel_slot_end": ".hookspecs",
    "kernel_slot_start": ".hookspecs",
    "kernel_steps": ".hookspecs",
    "kernel_task_accepted": ".hookspecs",
    "kernel_task_finished": ".hookspecs",
    "kernel_task_received": ".hookspecs",
    "kernel_transports": ".hookspecs",
    "kernel_worker_init": ".hookspecs",
    "kernel_worker_ready": ".hookspecs",
    "kernel_worker_stopped": ".hookspecs",
    "kernel_worker_stopping": ".hookspecs",
    "Hub": ".hub",
    "HubScope": ".hub",
    "TimerHandle": ".hub",
    "Timers": ".hub",
    "Accepted": ".inbox",
    "Failing": ".inbox",
    "Finished": ".inbox",
    "PoolEvent": ".inbox",
    "PoolInbox": ".inbox",
    "Resized": ".inbox",
    "Job": ".job",
    "Raised": ".job",
    "Limits": ".limits",
    "Run": ".limits",
    "ThreadRun": ".limits",
    "Consumer": ".loop",
    "Drive": ".loop",
    "LoopSpec": ".loop",
    "StopMode": ".loop",
    "StopRequest": ".loop",
    "Failure": ".outcome",
    "Outcome": ".outcome",
    "OutcomeKind": ".outcome",
    "Platform": ".platforms",
    "Hooks": ".plugins.hooks",
    "implements": ".plugins.hooks",
    "Plugins": ".plugins.loading",
    "CancelHow": ".pool",
    "CancelReply": ".pool",
    "Pool": ".pool",
    "PoolConfig": ".pool",
    "PoolListener": ".pool",
    "PoolSpec": ".pool",
    "PoolStatistics": ".pool",
    "Slot": ".pool",
    "SlotStatistics": ".pool",
    "Layer": ".settings",
    "Setting": ".settings",
    "Settings": ".settings",
    "Source": ".settings",
    "Value": ".settings",
    "Slots": ".slots",
    "Ticket": ".slots",
    "App": ".tasks.app",
    "AsyncResult": ".tasks.results",
    "ResultStore": ".tasks.results",
    "Task": ".tasks.task",
    "ControlError": ".errors",
    "Status": ".status",
    "WorkerState": ".status",
    "LoopCalls": ".loopcalls",
    "Commands": ".control.registry",
    "declare_queue": ".declaring",
    "keep_compressed": ".lazybody",
    "Worker": ".worker",
}

__all__ = [
    "CONTRACT",
    "Accepted",
    "App",
    "AppNotLoaded",
    "Application",
    "AsyncResult",
    "AutoscalePolicySpec",
    "Blueprint",
    "BlueprintName",
    "BrokerInfo",
    "BrokerUnavailable",
    "CancelHow",
    "CancelReply",
    "Capabilities",
    "Clock",
    "Commands",
    "Consumer",
    "ControlCommandSpec",
    "ControlError",
    "Drive",
    "Effect",
    "Envelope",
    "ExitCode",
    "Failing",
    "Failure",
    "Fence",
    "Finished",
    "Fitness",
    "GraphError",
    "Hooks",
    "Hub",
    "HubScope",
    "Ignore",
    "Job",
    "JobKilled",
    "KernelBug",
    "KernelError",
    "Layer",
    "LeaseLost",
    "Limits",
    "LoopCalls",
    "LoopSpec",
    "MaxRetriesExceeded",
    "MessageInvalid",
    "MissingRequirement",
    "OptionNeedsStep",
    "OptionRefused",
    "Outcome",
    "OutcomeKind",
    "Platform",
    "PluginBroken",
    "PluginConflict",
    "PluginError",
    "PluginIncompatible",
    "PluginNotFound",
    "Plugins",
    "Pool",
    "PoolClosed",
    "PoolConfig",
    "PoolEvent",
    "PoolInbox",
    "PoolListener",
    "PoolSpec",
    "PoolStatistics",
    "Raised",
    "Reject",
    "Resized",
    "ResultStore",
    "ResultStoreSpec",
    "Retry",
    "Run",
    "Setting",
    "Settings",
    "SettingsError",
    "Slot",
    "SlotStatistics",
    "Slots",
    "SoftTimeLimitExceeded",
    "Source",
    "Start",
    "Status",
    "Step",
    "StepContext",
    "StepCycle",
    "StepFailed",
    "StepSpec",
    "StopMode",
    "StopRequest",
    "StoreUnavailable",
    "Stuck",
    "Support",
    "SystemClock",
    "Task",
    "TaskError",
    "TaskNotRegistered",
    "TaskOptions",
    "TaskRevoked",
    "TaskSignal",
    "ThreadRun",
    "Ticket",
    "TimeLimitExceeded",
    "TimerHandle",
    "Timers",
    "TransportSpec",
    "Unsupported",
    "UnsupportedOption",
    "UsageError",
    "Value",
    "Worker",
    "WorkerLost",
    "WorkerState",
    "declare_queue",
    "implements",
    "keep_compressed",
    "kernel_autoscale_policies",
    "kernel_child_exit",
    "kernel_child_init",
    "kernel_choose_loop",
    "kernel_control_commands",
    "kernel_load_app",
    "kernel_loops",
    "kernel_may_start",
    "kernel_pools",
    "kernel_result_stores",
    "kernel_settings",
    "kernel_slot_end",
    "kernel_slot_start",
    "kernel_steps",
    "kernel_task_accepted",
    "kernel_task_finished",
    "kernel_task_received",
    "kernel_transports",
    "kernel_worker_init",
    "kernel_worker_ready",
    "kernel_worker_stopped",
    "kernel_worker_stopping",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
