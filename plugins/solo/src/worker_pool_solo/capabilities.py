"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

import attrs

from worker_kernel import LOCAL_POOL

# On Windows there is no signal to send: a sleep is then as deaf as C code, and its hard limit ends the process.
CAPABILITIES = attrs.evolve(LOCAL_POOL, windows=True, debugging="Easy", runs_in_main_thread=True)
"""The record of pool ``solo``."""
