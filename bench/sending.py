"""Fills the queue of one contender with its own client, in its own environment.

python -m bench.sending PEER TASK COUNT RATE     # RATE 0: as fast as it goes; else so many a second
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator

from bench.recording import now

STAMPED = "stamp"
"""The task whose argument is when it was sent."""


def arguments(task: str, count: int, rate: float) -> Iterator[tuple[int, ...]]:
    """The arguments of `count` calls of `task`, each given out when its time has come.

    Calls that are late do not delay those after them: a client that is held up for a moment catches up.
    """
    started = time.monotonic()
    for number in range(count):
        if rate and (early := started + number / rate - time.monotonic()) > 0:
            time.sleep(early)
        yield (now(),) if task == STAMPED else ()


def main() -> None:
    peer, task, count, rate = sys.argv[1:]
    module = importlib.import_module(f"bench.peers.{peer}")
    module.send(task, arguments(task, int(count), float(rate)))


if __name__ == "__main__":
    main()
