"""Runs the tasks of worker-kernel in greenlets of eventlet.

Nothing is imported before it is asked for: the patch lies in this package, and has to come before all else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capabilities import CAPABILITIES as CAPABILITIES
    from .capabilities import CONTRACT as CONTRACT
    from .capabilities import pools as pools

__all__ = ["CAPABILITIES", "CONTRACT", "pools"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(".capabilities", __name__), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
