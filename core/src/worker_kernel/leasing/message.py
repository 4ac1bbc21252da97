"""What a leased message looks like to the one who receives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from kombu.compression import decompress
from kombu.transport import virtual

from ..application import Fence
from .body import body_bytes


class LeasedMessage(virtual.Message):  # type: ignore[misc]  # kombu is untyped
    """A message of a transport that leases: kombu's, with a fence, a count of attempts, and three more ways to settle.

    Settling is batched: an `ack` takes effect when the transport next turns (see `LeasingTransport.flush`). A
    settlement that comes after the lease has passed to somebody else is refused with a warning in the log, and raises
    nothing.
    """

    def __init__(self, payload: Mapping[str, Any], channel: Any = None, *, accept: Any = None) -> None:
        """Take what kombu's message takes, with ``queue``, ``attempts``, ``fence`` and ``wire`` where they are known.

        One is made for each delivery: this comes to what the three constructors of kombu's would do, but for the
        header ``compression``. They inflate the body here, on the thread of the loop, without a bound.

        Raises:
            ValueError: the body is damaged.
            LookupError: it is no message.
        """
        properties = payload["properties"]
        self._raw = payload
        self._state = "RECEIVED"
        self._body = body_bytes(payload.get("body"), properties.get("body_encoding"))
        self._inflated = self._decoded_cache = None
        self.channel = channel
        self.accept = accept
        self.headers = payload.get("headers") or {}
        self.properties = properties
        self.delivery_tag = properties["delivery_tag"]
        self.delivery_info = properties.get("delivery_info") or {}
        self.content_type = payload.get("content-type")
        self.content_encoding = payload.get("content-encoding")
        self.queue: str = payload.get("queue", "")
        """The queue that it was taken from; empty for a broadcast."""
        self.attempts: int = payload.get("attempts", 0)
        """Earlier starts that were never settled nor handed back; 0 on the first delivery."""
        self.fence: Fence | None = payload.get("fence")
        """Proves to the result store in the same place that the message is in no other hands; None for a broadcast."""
        self.wire: bytes | None = payload.get("wire")
        """All of it as one JSON text, where the transport has that: see `read_wire`."""

    @property
    def raw_body(self) -> Any:
        """The body as it was sent, still compressed when the header ``compression`` says so."""
        return self._body

    @property
    def body(self) -> Any:
        """The body, decompressed on first access.

        Raises:
            Exception: what the decompressor raises on a damaged body.
        """
        compression = self.headers.get("compression")
        if not compression:
            return self._body
        if self._inflated is None:
            self._inflated = decompress(self._body, compression)
        return self._inflated

    @body.setter
    def body(self, body: Any) -> None:
        self._body, self._inflated = body, None

    def ack(self, multiple: bool = False) -> None:
        """Have the message removed for good; with `multiple`, those that were fetched before it too.

        Raises:
            MessageStateError: it was settled before.
        """
        # Not kombu's: that looks first whether the consumer wants no acknowledgements, and such messages are settled
        # as they are fetched.
        if self.channel is None or self._state != "RECEIVED":
            self._refuse()
        self.channel.basic_ack(self.delivery_tag, multiple)
        self._state = "ACK"

    @property
    def lease_lost(self) -> bool:
        """Whether a renewal has found the message in other hands: nothing that is done with it counts any more."""
        return self.channel is not None and self.delivery_tag in self.channel.qos.lost

    def park(self, seconds: float) -> None:
        """Give the message back, invisible for `seconds` (0 or more), as if it had never been started.

        Raises:
            MessageStateError: it was settled before.
        """
        self._settle("REQUEUED", "basic_park", seconds)

    def return_started(self) -> None:
        """Put the message back, to be taken next; unlike with `requeue`, the start that has come to nothing counts.

        Raises:
            MessageStateError: it was settled before.
        """
        self._settle("REQUEUED", "basic_return")

    def quarantine(self, reason: str) -> None:
        """Move the message, unread, to the queue ``<queue>.quarantine`` with the reason in a header.

        Raises:
            MessageStateError: it was settled before.
        """
        self._settle("REJECTED", "basic_quarantine", reason)

    _state: str

    def _settle(self, state: str, operation: str, *arguments: float | str) -> None:
        if self.channel is None or self._state != "RECEIVED":
            self._refuse()
        getattr(self.channel, operation)(self.delivery_tag, *arguments)
        self._state = state

    def _refuse(self) -> NoReturn:
        if self.channel is None:
            raise self.MessageStateError("This message does not have a receiving channel")
        raise self.MessageStateError(f"Message already acknowledged with state: {self._state}")
