"""Celery's settings and options that this worker knows by name and does not honour, each with the reason.

They are declared so that giving one is answered with that reason and never silently ignored. A value that asks for
nothing (`Setting.idle`) is honoured: ``task_always_eager = false`` is what happens anyway. Those with a step are
honoured as soon as an installed plugin provides it.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import kinds
from .settings import Parser, Setting


def _anything(given: object) -> object:
    return None if given == "none" else given


def _refused(name: str, reason: str, *idle: object, parse: Parser = _anything) -> Setting:
    return Setting(
        name=name,
        parse=parse,
        kind="any" if parse is _anything else "yes or no",
        refused=reason,
        idle=(None, *idle),
        help=f"Celery's; refused: {reason}.",
    )


def _switches() -> Iterator[Setting]:
    """Yield what is off here, and what asking for it is answered with."""
    for name, reason in (
        ("task_always_eager", "tasks run in a worker; call the task itself to run it at once"),
        ("task_eager_propagates", "tasks run in a worker; call the task itself to run it at once"),
        ("task_store_eager_result", "tasks run in a worker; call the task itself to run it at once"),
        ("task_remote_tracebacks", "tracebacks are stored as text"),
        ("task_retry_on_worker_lost", "a message goes back when its worker is lost: see task_reject_on_worker_lost"),
        ("task_allow_error_cb_on_chord_header", "errbacks are called for the task that has them"),
        ("task_send_sent_event", "this worker and its clients send no events yet"),
        ("task_store_errors_even_if_ignored", "whether a result is stored is one decision here: task_ignore_result"),
        ("task_inherit_parent_priority", "a priority is given with each call"),
        ("result_extended", "results keep Celery's short layout"),
        ("result_persistent", "whether results outlive the store is the store's own affair"),
        ("result_backend_always_retry", "a store that cannot be reached is always tried again"),
        ("broker_channel_error_retry", "a channel error always makes the connection anew"),
        ("worker_direct", "name the queue with -Q and send to it"),
        ("worker_redirect_stdouts", "what tasks print stays on stdout, where it was printed"),
        ("worker_deduplicate_successful_tasks", "a message whose task has run is settled with a fencing token instead"),
        (
            "worker_cancel_long_running_tasks_on_connection_loss",
            "running tasks go on when the connection is lost, and a fencing token refuses a late settlement",
        ),
        ("worker_enable_soft_shutdown_on_idle", "a warm stop is bounded by worker_grace, and ends at once when idle"),
    ):
        yield _refused(name, reason, False, parse=kinds.optional(kinds.yes_no))
    for name, reason in (
        ("task_create_missing_queues", "queues that do not exist are always made"),
        ("worker_hijack_root_logger", "the command line always sets up the root logger; embed the worker to do it"),
        ("worker_detect_quorum_queues", "quorum queues are told by the broker"),
    ):
        yield _refused(name, reason, True, parse=kinds.optional(kinds.yes_no))


def _values() -> Iterator[Setting]:
    """Yield what takes a value in Celery."""
    for name, reason, *idle in (
        ("broker_transport", "the scheme of broker_url says it"),
        ("broker_host", "name it in broker_url"),
        ("broker_port", "name it in broker_url"),
        ("broker_user", "name it in broker_url"),
        ("broker_password", "name it in broker_url"),
        ("broker_vhost", "name it in broker_url"),
        ("broker_heartbeat_checkrate", "heartbeats are checked as often as the broker asks", 3.0),
        ("broker_pool_acquire_timeout", "each thread that sends has a connection of its own"),
        ("result_accept_content", "results are read as JSON", ["json"], ("json",)),
        ("result_cache_max", "results are not cached", -1),
        ("result_compression", "results are stored as they are"),
        ("result_exchange", "results are kept in a store, not sent as messages", "celeryresults"),
        ("result_exchange_type", "results are kept in a store, not sent as messages", "direct"),
        ("result_chord_expires", "see result_expires"),
        ("result_failure_expires", "see result_expires"),
        ("result_backend_transport_options", "give the store's options in the URL of result_backend", {}),
        ("result_chord_retry_interval", "a chord is counted in the store", 1.0),
        ("result_chord_join_timeout", "a chord is counted in the store", 3.0),
        ("result_backend_max_sleep_between_retries_ms", "a failed store is tried again with growing pauses", 10000),
        ("result_backend_base_sleep_between_retries_ms", "a failed store is tried again with growing pauses", 10),
        ("result_backend_max_retries", "a failed store is tried again until the worker stops", float("inf")),
        ("task_create_missing_queue_type", "task_default_queue_type says what a queue is made as", "classic"),
        ("task_create_missing_queue_exchange_type", "queues are bound to the default exchange"),
        ("task_repr_maxlevels", "the text of arguments is cut by length", 3),
        ("worker_redirect_stdouts_level", "what tasks print stays on stdout, where it was printed", "WARNING"),
        ("worker_log_datefmt", "dates are written as Python's logging does"),
        ("worker_task_log_datefmt", "dates are written as Python's logging does"),
        ("imports", "name the modules in worker_include"),
        ("include", "name the modules in worker_include"),
        ("beat_schedule", "no installed plugin is a scheduler: run Celery's beat beside the worker"),
        ("broker_read_url", "the worker has one broker_url"),
        ("broker_write_url", "the worker has one broker_url"),
        ("broker_use_ssl", "say so in the URL, or in broker_transport_options"),
        ("task_compression", "give compression= with the call"),
        ("task_default_priority", "give the priority on the task or in the call"),
        ("task_default_exchange", "tasks are sent to the default exchange", ""),
        ("task_default_routing_key", "the routing key is the queue's name: task_default_queue"),
        ("worker_enable_prefetch_count_reduction", "messages held never exceed slots and buffer", True, False),
        ("task_protocol", "messages are written in version 2 of the protocol, and read in 1 and 2", 2, "2"),
        ("task_routes", "name the queue on the task or in the call"),
        ("task_queues", "name the queues with worker_queues"),
        ("task_annotations", "give the options on the task"),
        ("task_default_exchange_type", "queues are bound to the default exchange", "direct"),
        ("task_default_delivery_mode", "messages are always written to outlive the broker", 2, "2", "persistent"),
        ("task_queue_max_priority", "set x-max-priority on the broker's queue"),
        ("task_acks_on_failure_or_timeout", "Celery has replaced it by task_acks_on_failure and task_acks_on_timeout"),
        ("result_serializer", "results are stored as JSON, which every client reads", "json"),
        ("broker_failover_strategy", "alternate URLs are tried in turn", "round-robin"),
        ("broker_login_method", "the transport's own is used"),
        ("broker_pool_limit", "each thread that sends keeps one connection"),
        ("worker_agent", "there are no agents"),
        ("worker_consumer", "choose the steps of the consumer with plugins"),
        ("worker_timer", "the step 'timer' comes from a plugin"),
        ("worker_timer_precision", "timers fire when they are due"),
        ("worker_log_color", "the log has no colours"),
        ("worker_task_log_format", "task and id are in the log's own lines; see worker_log_format"),
        ("worker_soft_shutdown_timeout", "a warm stop is bounded by worker_grace", 0, 0.0, "0"),
    ):
        yield _refused(name, reason, *idle)


def _options() -> Iterator[Setting]:
    """Yield what Celery's worker takes as an option beyond the settings above."""
    supervisor = "run the worker under a supervisor (systemd, a container), which does this"
    yield Setting(
        name="worker_detach",
        parse=kinds.yes_no,
        kind="yes or no",
        default=False,
        help=f"Celery's; refused: {supervisor}.",
        options=("-D", "--detach"),
        flag=True,
        refused=supervisor,
    )
    for name, options, reason in (
        ("worker_logfile", ("-f", "--logfile"), "the log goes to stderr: redirect it"),
        ("worker_pidfile", ("--pidfile",), supervisor),
        ("worker_uid", ("--uid",), supervisor),
        ("worker_gid", ("--gid",), supervisor),
        ("worker_umask", ("--umask",), supervisor),
        ("worker_executable", ("--executable",), "start the worker with that interpreter"),
        ("worker_state_db", ("-S", "--statedb"), "what was revoked is remembered while the worker runs, not beyond"),
    ):
        yield Setting(
            name=name,
            parse=kinds.optional(kinds.text),
            kind="text",
            help=f"Celery's; refused: {reason}.",
            options=options,
            metavar="VALUE",
            refused=reason,
        )
    for what in ("gossip", "mingle", "heartbeat"):
        yield Setting(
            name=f"worker_without_{what}",
            parse=kinds.yes_no,
            kind="yes or no",
            default=True,
            help=f"Whether the worker does without {what}; no is refused until a plugin provides it.",
            options=(f"--without-{what}",),
            flag=True,
            step="heart" if what == "heartbeat" else what,
            idle=(None, True),
        )


def _with_steps() -> Iterator[Setting]:
    """Yield what a plugin's step will honour."""
    yield Setting(
        name="worker_beat",
        parse=kinds.yes_no,
        kind="yes or no",
        default=False,
        help="Run an embedded scheduler; refused until a plugin provides the step beat.",
        options=("-B", "--beat"),
        flag=True,
        step="beat",
    )
    yield Setting(
        name="worker_send_task_events",
        parse=kinds.yes_no,
        kind="yes or no",
        default=False,
        help="Send events that monitors can follow; refused until a plugin provides the step events.",
        options=("-E", "--task-events", "--events"),
        flag=True,
        step="events",
    )
    for name, options, step in (
        ("beat_schedule_filename", ("-s", "--schedule", "--schedule-filename"), "beat"),
        ("beat_scheduler", ("--scheduler",), "beat"),
        ("event_heartbeat_interval", ("--heartbeat-interval",), "heart"),
    ):
        yield Setting(
            name=name,
            parse=kinds.optional(kinds.text),
            kind="text",
            help=f"Celery's; refused until a plugin provides the step {step}.",
            options=options,
            metavar="VALUE",
            step=step,
        )


UNHONOURED: tuple[Setting, ...] = (*_with_steps(), *_options(), *_switches(), *_values())
"""See the module."""
