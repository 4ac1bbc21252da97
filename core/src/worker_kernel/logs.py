"""Where the log of a process of ours goes."""

from __future__ import annotations

import logging
import sys


def set_up_logging(level: str, layout: str) -> None:
    """Send the log of this process to stderr, in this format and from this level on."""
    logging.basicConfig(level=level, format=layout, stream=sys.stderr, force=True)
