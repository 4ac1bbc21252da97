"""Messages whose body stays compressed: inflating it is the job's business, with a bound, where the task runs."""

from __future__ import annotations

from typing import Any


def keep_compressed(channel: Any) -> None:
    """Make ``channel`` build messages that do not decompress their body on arrival.

    kombu inflates a body in the constructor of its message, without a bound, on the thread of the loop. Only this
    channel is touched; a transport whose messages have a ``raw_body`` of their own is left as it is.
    """
    kombu_message = getattr(channel, "Message", None)
    if kombu_message is None or hasattr(kombu_message, "raw_body"):
        return
    channel.Message = type("CompressedMessage", (_KeepCompressed, kombu_message), {})


class _KeepCompressed:
    """Hides the header ``compression`` from kombu's constructor."""

    _all_headers: dict[str, Any]
    _built = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._built = True

    @property
    def headers(self) -> dict[str, Any]:
        if self._built or "compression" not in self._all_headers:
            return self._all_headers
        return {name: value for name, value in self._all_headers.items() if name != "compression"}

    @headers.setter
    def headers(self, headers: dict[str, Any]) -> None:
        self._all_headers = headers

    @property
    def raw_body(self) -> Any:
        """The body as it came."""
        return self.body  # type: ignore[attr-defined]  # kombu's message, which this class is mixed into, has it
