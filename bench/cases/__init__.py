"""What is measured, a file for each kind of case; `ALL` has them in the order in which they are run and reported."""

from __future__ import annotations

from bench.cases.case import Amount, Case
from bench.cases.drain import DRAINS
from bench.cases.flat import FLAT
from bench.cases.latency import LATENCY
from bench.cases.lifecycle import MEMORY, STARTUP

ALL: dict[str, Case] = {case.name: case for case in (*DRAINS, LATENCY, STARTUP, MEMORY, *FLAT)}

__all__ = ["ALL", "Amount", "Case"]
