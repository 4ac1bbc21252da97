"""Which policy ``worker_autoscaler`` means."""

from __future__ import annotations

import logging

from worker_kernel import AutoscalePolicy, OptionRefused, PluginBroken, PluginNotFound, Worker

from .load import LoadPolicy

log = logging.getLogger("worker_autoscale")

DEFAULT = "load"
BUDGET = "worker_autoscale_memory"


def choose_policy(worker: Worker) -> AutoscalePolicy:
    """Build the policy that the settings name: a registered name, or ``package.module:Class``.

    Raises:
        PluginNotFound: there is none of that name.
        PluginBroken: it cannot be imported, or is no `AutoscalePolicy`.
        OptionRefused: it does not look at memory, and a budget was given.
    """
    name = worker.settings.get_str("worker_autoscaler") or DEFAULT
    spec = worker.plugins.autoscale_policies.get(name)
    if spec is None and ":" not in name:
        known = ", ".join(worker.plugins.autoscale_policies)
        raise PluginNotFound(
            f"no autoscaling policy named {name!r} is installed (worker_autoscaler)\n"
            f"name one of {known}, or package.module:Class"
        )
    path = name if spec is None else spec.factory
    cls = worker.plugins.load_object(path)
    if not (isinstance(cls, type) and issubclass(cls, AutoscalePolicy)):
        raise PluginBroken(f"{path} is no autoscaling policy: it is not a subclass of worker_kernel.AutoscalePolicy")
    if cls is LoadPolicy and worker.settings.given(BUDGET):
        refused = OptionRefused(
            worker.settings.spelled(BUDGET),
            "",
            f"the policy {name} does not look at memory: --autoscaler resources does",
        )
        if not worker.settings.get_bool("worker_best_effort"):
            raise refused
        log.warning("%s is left out (--best-effort): %s", refused.option, refused.reason)
    return cls(worker.settings)
