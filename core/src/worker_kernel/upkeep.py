"""What must go on while a task keeps the loop from turning."""

from __future__ import annotations

from collections.abc import Callable


class Upkeep:
    """Calls of a thread beside the loop. Takes no lock, so that it works in a patched process, too."""

    def __init__(self) -> None:
        self._calls: tuple[Callable[[], None], ...] = ()

    def add(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` made while the loop is held; returns what takes it back. Both on the loop's thread.

        ``call`` must not block, log, or take a lock of the standard library's.
        """
        self._calls = (*self._calls, call)

        def remove() -> None:
            self._calls = tuple(other for other in self._calls if other is not call)

        return remove

    def run(self) -> None:
        """Make the calls. On the thread of a watchdog."""
        for call in self._calls:
            call()
