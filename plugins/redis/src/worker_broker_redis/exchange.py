"""One exchange with the server: what was settled goes, messages come, in one round trip that need not be waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .channel import RedisChannel
    from .link import Link
    from .queues import Batch, Delivery, Queues


@attrs.frozen(kw_only=True, eq=False)
class Exchange:
    """An exchange that is under way. Until it is finished nothing else can be run on its link."""

    link: Link
    """Where it is under way."""
    channel: RedisChannel
    """Whom it fetches for."""
    settled: list[Delivery]
    """What is settled with it."""
    lists: list[tuple[str, str]]
    """Queue and key of each list that it fetches from."""

    @classmethod
    def begin(
        cls, link: Link, queues: Queues, channel: RedisChannel, settled: list[Delivery], *, most: int
    ) -> Exchange:
        """Send it, and do not wait. It takes what the channel has room for, at ``most`` so many messages.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        lists = channel.lists()
        in_turn = channel.queue_order_strategy == "round_robin"
        room = channel.qos.can_consume_max_estimate()
        queues.begin_fetch(
            link,
            lists,
            width=len(lists) // len(channel.priority_steps) if in_turn else 1,
            limit=most if room is None else min(room, most),
            settled=[delivery.tag for delivery in settled],
        )
        return cls(link=link, channel=channel, settled=settled, lists=lists)

    def finish(self, queues: Queues) -> Batch:
        """Return what came, waiting for it if need be. Raises redis-py's errors."""
        return queues.finish_fetch(self.link, self.lists)
