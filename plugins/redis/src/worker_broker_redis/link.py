"""The connection that a consumer runs its scripts on, and the one that wakes it up."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from .connections import Exclusive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scripts import Script

log = logging.getLogger("worker_broker_redis")

INVALIDATIONS = "__redis__:invalidate"
_WATCHING = ("CLIENT", "CACHING", "YES")


class Step(NamedTuple):
    """One run of a script; see `Link.run`."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Any]
    watching: bool = False


class Link:
    """Runs scripts, and gets to know when a key changes that a script has read.

    Waiting takes nothing from a queue: the server tracks which keys a *watching* script has read (``CLIENT TRACKING``,
    made for caches), and tells the second connection once when one of them changes. So one blocked descriptor stands
    for any number of queues and priorities, whoever sends to them, and a consumer that is killed while it waits loses
    nothing. Where the server, a proxy or an access list does not allow that, `watches` is False.

    Belongs to one thread at a time. An error of the connection is final: this link is of no use any more.
    """

    def __init__(self, pool: Any) -> None:
        """Connect the first of the two.

        Raises:
            redis.ConnectionError: the server cannot be reached.
        """
        self._pool = pool
        self._commands = Exclusive(pool)
        self._wakeups: Exclusive | None = None
        self._asked = False
        self._open: tuple[Sequence[Step], list[int], int] = ((), [], 0)  # what is asked: see `answer`
        self._probed: float | None = None  # monotonic; when the second was asked for a sign of life that has not come

    @property
    def watches(self) -> bool:
        """Whether changes are told."""
        return self._wakeups is not None

    def watch(self) -> bool:
        """Have changes told from now on, where the server can do that; whether that was new. Once is enough."""
        if self._asked:
            return False
        self._asked = True
        wakeups = Exclusive(self._pool)
        number, subscribed = wakeups.call(("CLIENT", "ID"), ("SUBSCRIBE", INVALIDATIONS))
        refusal = next((reply for reply in (number, subscribed) if isinstance(reply, Exception)), None)
        if refusal is None:
            # OPTIN: only what follows a CLIENT CACHING counts. NOLOOP: our own changes are known here.
            (reply,) = self._commands.call(("CLIENT", "TRACKING", "ON", "REDIRECT", number, "OPTIN", "NOLOOP"))
            refusal = reply if isinstance(reply, Exception) else None
        if refusal is None:
            self._wakeups = wakeups
        else:
            wakeups.close()
            log.warning("the server tells no changes of keys, so queues are looked at every second: %s", refusal)
        return True

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, watching: bool = False) -> Any:
        """Run a script and return its reply; with `watching`, what it reads is watched, where that is possible.

        Raises:
            redis.ConnectionError: the connection is lost; the script may have run or not.
            redis.ResponseError: the server refuses.
        """
        before = [_WATCHING] if watching and self.watches else []
        reply = self._commands.call(*before, ("EVALSHA", script.sha, len(keys), *keys, *arguments))[-1]
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = self._commands.call(*before, ("EVAL", script.text, len(keys), *keys, *arguments))[-1]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run_together(self, *steps: Step) -> list[Any]:
        """Run scripts one after the other, in one round trip, and return their replies. Raises as `run` does."""
        self.ask(*steps)
        return self.answer()

    def ask(self, *steps: Step) -> None:
        """Have scripts run as `run_together` does, and wait for nothing: `answer` has to be the next call here.

        Raises:
            redis.ConnectionError: the connection is lost; they may run or not.
        """
        commands: list[tuple[Any, ...]] = []
        places = []
        for step in steps:
            if step.watching and self.watches:
                commands.append(_WATCHING)
            places.append(len(commands))
            commands.append(("EVALSHA", step.script.sha, len(step.keys), *step.keys, *step.arguments))
        self._commands.send(*commands)
        self._open = steps, places, len(commands)

    def answer(self) -> list[Any]:
        """Wait for the replies to what was asked last, and return them. Raises as `run` does."""
        steps, places, number = self._open
        replies = self._commands.receive(number)
        found = [replies[place] for place in places]
        for position, step in enumerate(steps):
            if isinstance(found[position], redis.exceptions.NoScriptError):
                found[position] = self.run(step.script, step.keys, step.arguments, watching=step.watching)
        for reply in found:
            if isinstance(reply, Exception):
                raise reply
        return found

    @property
    def answers(self) -> Exclusive:
        """Where answers arrive."""
        return self._commands

    def drain(self) -> bool:
        """Read away what was told; whether anything was.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        came = self._wakeups is not None and self._wakeups.drain()
        if came:
            self._probed = None
        return came

    def probe(self, patience: float) -> bool:
        """Find out whether the second still lives, which nothing is sent on otherwise; whether a change was told.

        To be called now and then. Waits for nothing: this call asks, a later one looks for the answer.

        Raises:
            redis.ConnectionError: it is lost, or has given no sign of life for `patience` seconds.
        """
        came = self.drain()
        if self._wakeups is None:
            return came
        if self._probed is None:
            self._wakeups.tell("PING")
            self._probed = time.monotonic()
        elif time.monotonic() - self._probed > patience:
            raise redis.exceptions.ConnectionError("the connection on which changes are told has fallen silent")
        return came

    def fileno(self) -> int | None:
        """The descriptor that can be read when a change is told; None where none is told."""
        return None if self._wakeups is None else self._wakeups.fileno()

    def close(self) -> None:
        """Disconnect both. Idempotent."""
        self._commands.close()
        if self._wakeups is not None:
            self._wakeups.close()
