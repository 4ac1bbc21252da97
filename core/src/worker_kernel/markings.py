"""What we write on messages and queues, whatever the broker. It outlives a release: names are added, never changed."""

from __future__ import annotations

ATTEMPTS_HEADER = "x-kernel-attempts"
"""Starts of earlier copies of a message that were never settled, on brokers without a count of their own."""
QUARANTINE_SUFFIX = ".quarantine"
"""What is put aside from queue ``q`` is kept in ``q.quarantine``."""
QUARANTINE_HEADER = "x-kernel-quarantine"
"""Why a message was put aside."""
QUARANTINED_AT_HEADER = "x-kernel-quarantined-at"
"""When, in seconds since the epoch."""
