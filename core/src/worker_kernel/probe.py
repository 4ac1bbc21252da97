"""``kernel probe``: judge a worker by its state file.

Imports the standard library alone, and little of it: probes run every few seconds. See `statestep` for who writes the
file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

SCHEMA = 1
"""Version of the state file. Keys are only ever added."""
STALE = 15.0
"""Seconds without a turn of the loop after which a worker is not live."""
USAGE = "usage: kernel probe PATH [--live] [--ready]"


def main(arguments: Sequence[str]) -> int:
    """Judge as the command line says and return the exit code: 0 yes, 1 no, 2 usage. The verdict is one line."""
    paths = [word for word in arguments if not word.startswith("-")]
    options = {word for word in arguments if word.startswith("-")}
    if len(paths) != 1 or options - {"--live", "--ready"}:
        print(USAGE, file=sys.stderr)
        return 2
    ready = "--ready" in options
    why_not = judge(paths[0], live="--live" in options or not ready, ready=ready, now=time.time())
    if why_not:
        print(f"no: {why_not}", file=sys.stderr)
        return 1
    print("yes")
    return 0


def judge(path: str, *, live: bool, ready: bool, now: float) -> str:
    """Return why the worker is not what is asked for; empty: it is.

    Live: it has not ended, and its loop has turned within the last `STALE` seconds, whether or not its broker can be
    reached. Ready: it is live, connected, and takes messages.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (pathlib takes as long to import as all the rest)
            state = json.loads(file.read())
    except (OSError, ValueError) as exc:
        return f"the state file cannot be read: {exc}"
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        return f"{path} is no state file of version {SCHEMA}"
    reason = f": {state['reason']}" if state.get("reason") else ""
    if state.get("state") == "dead":
        return f"the worker has ended{reason}"
    tick = state.get("loop_tick")
    if not isinstance(tick, (int, float)):
        return f"the loop has not begun to turn{reason}"
    if now - tick > STALE:
        return f"the loop has not turned for {now - tick:.0f} s"
    if ready and not state.get("ready"):
        return f"the worker is {state.get('state')} and takes no messages{reason}"
    return ""
