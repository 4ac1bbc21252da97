"""worker-kernel: a task worker made of plugins.

This is the face of the distribution: every public name, imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .homes import HOMES

if TYPE_CHECKING:
    from .application import Application, BrokerInfo, Envelope, Fence, TaskOptions
    from .autoscaling import AutoscalePolicy, Load
    from .batches import BATCH, average_of_late, batch_of
    from .blueprint import Blueprint
    from .books import SlotWorker
    from .bootrecord import Booted, BootRecord
    from .bootsteps import BlueprintName, Step, StepContext, StepSpec
    from .capabilities import GREEN_POOL, LOCAL_POOL, SLOT_POOL, Capabilities, Effect, Fitness, Stuck, Support
    from .cgroups import MemoryBudget, Resources, read_resources
    from .clock import Clock, SystemClock
    from .control.registry import Commands
    from .declaring import declare_queue
    from .errors import (
        AppNotLoaded,
        BrokerUnavailable,
        ChordFailed,
        ControlError,
        ExitCode,
        GraphError,
        Ignore,
        JobKilled,
        KernelBug,
        KernelError,
        LeaseLost,
        MaxRetriesExceeded,
        MemoryLimitExceeded,
        MessageInvalid,
        MissingRequirement,
        OptionNeedsStep,
        OptionRefused,
        PluginBroken,
        PluginConflict,
        PluginError,
        PluginIncompatible,
        PluginNotFound,
        PoolClosed,
        Reject,
        Retry,
        SettingsError,
        SoftTimeLimitExceeded,
        StepCycle,
        StepFailed,
        StoreUnavailable,
        StoreUnknown,
        TaskError,
        TaskNotRegistered,
        TaskRevoked,
        TaskSignal,
        TimeLimitExceeded,
        Unsupported,
        UnsupportedOption,
        UsageError,
        WorkerLostError,
    )
    from .greenpool import GreenPool
    from .greens import Green, Greenlet, GreenRun, Joinable, Pulse
    from .hookspecs import (
        CONTRACT,
        AutoscalePolicySpec,
        ControlCommandSpec,
        ResultStoreSpec,
        Start,
        TransportSpec,
        kernel_autoscale_policies,
        kernel_child_exit,
        kernel_child_init,
        kernel_choose_loop,
        kernel_control_commands,
        kernel_load_app,
        kernel_loops,
        kernel_may_start,
        kernel_pools,
        kernel_result_stores,
        kernel_settings,
        kernel_slot_end,
        kernel_slot_start,
        kernel_steps,
        kernel_task_accepted,
        kernel_task_finished,
        kernel_task_received,
        kernel_transports,
        kernel_worker_init,
        kernel_worker_ready,
        kernel_worker_stopped,
        kernel_worker_stopping,
    )
    from .hub import Hub, HubScope, TimerHandle, Timers
    from .inbox import Accepted, Failing, Finished, PoolEvent, PoolInbox, Resized
    from .job import Job, Raised
    from .lazybody import keep_compressed
    from .leasing.channel import LeasedQoS, LeasingChannel
    from .leasing.message import LeasedMessage
    from .leasing.transport import LeasingTransport
    from .limits import Limits, Run, ThreadRun
    from .localpool import LocalPool
    from .loop import BrokerConnection, Consumer, Demand, Drive, LoopSpec, StopMode, StopRequest
    from .loopcalls import LoopCalls
    from .markings import ATTEMPTS_HEADER, QUARANTINE_HEADER, QUARANTINE_SUFFIX, QUARANTINED_AT_HEADER
    from .native import Native, NativeLock
    from .outcome import Failure, Outcome, OutcomeKind
    from .patching import patch
    from .platforms import Platform
    from .plugins.hooks import Hooks, implements
    from .plugins.loading import Plugins
    from .pool import (
        CancelHow,
        CancelReply,
        Pool,
        PoolConfig,
        PoolListener,
        PoolSpec,
        PoolStatistics,
        Slot,
        SlotStatistics,
    )
    from .queuedepth import QueueDepth, queue_depth
    from .settings import Layer, Setting, Settings, Source, Value
    from .slotpool import Server, SlotPool
    from .slots import Slots, Ticket
    from .status import Status, WorkerState
    from .tasks.app import App
    from .tasks.chords import ChordPart, JoinedChord
    from .tasks.jsontext import read_json
    from .tasks.results import AsyncResult, ResultStore
    from .tasks.task import Task
    from .tasks.wire import read_wire
    from .upkeep import Upkeep
    from .worker import Worker

__all__ = [
    "ATTEMPTS_HEADER",
    "BATCH",
    "CONTRACT",
    "GREEN_POOL",
    "LOCAL_POOL",
    "QUARANTINED_AT_HEADER",
    "QUARANTINE_HEADER",
    "QUARANTINE_SUFFIX",
    "SLOT_POOL",
    "Accepted",
    "App",
    "AppNotLoaded",
    "Application",
    "AsyncResult",
    "AutoscalePolicy",
    "AutoscalePolicySpec",
    "Blueprint",
    "BlueprintName",
    "BootRecord",
    "Booted",
    "BrokerConnection",
    "BrokerInfo",
    "BrokerUnavailable",
    "CancelHow",
    "CancelReply",
    "Capabilities",
    "ChordFailed",
    "ChordPart",
    "Clock",
    "Commands",
    "Consumer",
    "ControlCommandSpec",
    "ControlError",
    "Demand",
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
    "Green",
    "GreenPool",
    "GreenRun",
    "Greenlet",
    "Hooks",
    "Hub",
    "HubScope",
    "Ignore",
    "Job",
    "JobKilled",
    "Joinable",
    "JoinedChord",
    "KernelBug",
    "KernelError",
    "Layer",
    "LeaseLost",
    "LeasedMessage",
    "LeasedQoS",
    "LeasingChannel",
    "LeasingTransport",
    "Limits",
    "Load",
    "LocalPool",
    "LoopCalls",
    "LoopSpec",
    "MaxRetriesExceeded",
    "MemoryBudget",
    "MemoryLimitExceeded",
    "MessageInvalid",
    "MissingRequirement",
    "Native",
    "NativeLock",
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
    "Pulse",
    "QueueDepth",
    "Raised",
    "Reject",
    "Resized",
    "Resources",
    "ResultStore",
    "ResultStoreSpec",
    "Retry",
    "Run",
    "Server",
    "Setting",
    "Settings",
    "SettingsError",
    "Slot",
    "SlotPool",
    "SlotStatistics",
    "SlotWorker",
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
    "StoreUnknown",
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
    "Upkeep",
    "UsageError",
    "Value",
    "Worker",
    "WorkerLostError",
    "WorkerState",
    "average_of_late",
    "batch_of",
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
    "patch",
    "queue_depth",
    "read_json",
    "read_resources",
    "read_wire",
]


def __getattr__(name: str) -> object:
    home = HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
