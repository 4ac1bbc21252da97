"""The buffer: how many messages are held beyond those that have a slot."""

from __future__ import annotations

from worker_kernel import Settings, Slots

from .pace import Pace

MOST = 1000
"""Messages at the most where the pace decides, however many slots there are."""


class Buffer:
    """A number that was given, a number for each slot, or as many as the pace of the tasks makes worth it.

    Belongs to the loop's thread.
    """

    def __init__(
        self, slots: Slots, *, fixed: int | None = None, per_slot: int | None = None, deepest: int = MOST
    ) -> None:
        """Hold ``fixed`` messages, or else ``per_slot`` for each slot (both >= 0); neither: by the pace.

        Args:
            slots: what there is room for.
            fixed: messages.
            per_slot: messages for each slot.
            deepest: messages for each slot at the most where the pace decides.
        """
        self._slots, self._fixed, self._per_slot, self._deepest = slots, fixed, per_slot, deepest
        self.pace = Pace()
        """How long runs take."""
        self.size = 0
        """How many, now."""
        self.resize()

    @classmethod
    def of(cls, settings: Settings, slots: Slots) -> Buffer:
        """Return what the settings ask for."""
        fixed = settings.get_int("worker_prefetch_buffer")
        multiplier = settings.get_int("worker_prefetch_multiplier")
        if settings.get_bool("worker_disable_prefetch"):
            fixed = 0
        runs = settings.get_int("worker_max_tasks_per_child")
        return cls(
            slots,
            fixed=fixed,
            per_slot=None if multiplier is None else multiplier - 1,
            # A child that is replaced takes longer than its tasks do, and no run time tells of that.
            deepest=MOST if runs is None else runs - 1,
        )

    @property
    def adaptive(self) -> bool:
        """Whether the pace decides."""
        return self._fixed is None and self._per_slot is None

    def resize(self) -> None:
        """Follow the number of slots, and the pace."""
        if self._fixed is not None:
            self.size = self._fixed
        elif self._per_slot is not None:
            self.size = self._slots.limit * self._per_slot
        else:
            self.size = min(self._slots.limit * min(self.pace.depth, self._deepest), MOST)

    def look(self) -> None:
        """Let the size follow the runs so far."""
        if self.pace.look():
            self.resize()

    def doubt(self) -> None:
        """Hold nothing for a while, where the pace decides."""
        self.pace.doubt()
        self.resize()

    def statistics(self) -> dict[str, object]:
        """Return how many and why, JSON-safe."""
        return {"size": self.size, "adaptive": self.adaptive, "runtime": round(self.pace.average, 6)}
