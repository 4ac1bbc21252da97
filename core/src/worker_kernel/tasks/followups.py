"""What a message asks to be sent when its task has ended: read and checked before the task runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import MessageInvalid
from .canvas import Dispatch, Heir, Membership, heirs, unfold
from .meta import header_text
from .signature import listed


@attrs.frozen(kw_only=True)
class Followups:
    """What a message asks to be sent when its task has ended."""

    callbacks: Dispatch = attrs.field(factory=Dispatch)
    """To be sent after a success, with the value: callbacks, then the next of the chain, which carries the rest."""
    errbacks: Dispatch = attrs.field(factory=Dispatch)
    """To be sent after a failure, with the id."""
    heirs: tuple[Heir, ...] = ()
    """All that follow in the chain: they fail with the task."""
    part: Membership | None = None
    """The chord that waits for the task's result."""

    @property
    def needs_chords(self) -> bool:
        """Whether the result store has to keep parts of chords for it."""
        return self.part is not None or bool(self.callbacks.sizes or self.errbacks.sizes)


NOTHING = Followups()
"""What most messages ask for."""


def read_followups(embed: Mapping[str, Any], headers: Mapping[str, Any], parent_id: str) -> Followups:
    """Read what a message asks for.

    Args:
        embed: callbacks, errbacks, chain and chord, from its body.
        headers: of the message, for the group and the root.
        parent_id: the id of the task that carries it.

    Raises:
        UnsupportedOption: it asks for something that is not supported.
        MessageInvalid: it is malformed.
    """
    if not any(embed.values()):
        return NOTHING
    family = {"parent_id": parent_id, "root_id": header_text(headers, "root_id") or parent_id}
    dispatches = [unfold(item, family) for item in listed("callbacks", embed.get("callbacks"))]
    chain = listed("chain", embed.get("chain"))
    if chain:
        dispatches.append(unfold(chain[-1], family, then=chain[:-1]))
    return Followups(
        callbacks=_together(dispatches),
        errbacks=_together([unfold(item, family) for item in listed("errbacks", embed.get("errbacks"))]),
        heirs=tuple(heir for item in reversed(chain) for heir in heirs(item)),
        part=_part(embed.get("chord"), headers),
    )


def _part(chord: object, headers: Mapping[str, Any]) -> Membership | None:
    if not chord:
        return None
    group_id, index = header_text(headers, "group"), headers.get("group_index")
    if not isinstance(chord, Mapping) or not isinstance(chord.get("task"), str):
        raise MessageInvalid(f"the chord in the body of the message is {chord!r:.200}, which is no signature")
    if not group_id:
        raise MessageInvalid("the message is part of a chord, but names no group")
    if isinstance(index, bool) or not isinstance(index, (int, type(None))):
        raise MessageInvalid(f"its group_index is {index!r:.100}, not a number")
    return Membership(group_id=group_id, index=-1 if index is None else index, chord=chord)


def _together(dispatches: list[Dispatch]) -> Dispatch:
    calls = tuple(call for dispatch in dispatches for call in dispatch.calls)
    return Dispatch(calls=calls, sizes={key: size for one in dispatches for key, size in one.sizes.items()})
