"""What goes through the pipe between the worker and a child: length, kind, payload. Nothing is pickled.

Jobs travel as the bytes that `Job.to_frame` made of them. Everything else is *news*: a JSON list of short lists, each
of which begins with its word. Both directions carry as many jobs, or news, in one frame as there are at the moment.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from worker_kernel import Failure, KernelBug, Outcome, OutcomeKind

HEADER = struct.Struct("!IB")
"""The length of a frame's payload in bytes, and its `FrameKind`."""
_ENTRY = struct.Struct("!QI")
LARGEST = 1 << 31
"""Bytes: a frame that claims to be larger is none."""

News = Sequence[Any]
"""One piece of news: a `Word`, and what belongs to it."""


class FrameKind(enum.IntEnum):
    """What a frame holds."""

    JOBS = 1
    """Jobs, in the order in which they are to run. To the child."""
    NEWS = 2
    """News, in order. In both directions."""
    BOOT = 3
    """The `Orders` of a child that was not forked from the worker: the first frame that it gets."""


_KINDS = frozenset(FrameKind)
# Made once, and used below what `json.dumps` and `json.loads` do for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
_quoted = json.encoder.encode_basestring_ascii
_OUTCOME_KINDS = {str(kind): kind for kind in OutcomeKind}


class Word(enum.StrEnum):
    """What a piece of news is about."""

    # From the child.
    PHASE = "phase"
    """``[words]``: what it is about to do while it starts. Any frame proves that it lives; this one that it gets on."""
    READY = "ready"
    """It takes jobs."""
    BROKEN = "broken"
    """``[text]``: it cannot start, and why, in lines for people."""
    ACCEPTED = "accepted"
    """``[number, started, slot]``: the job was about to start at this time of the system's monotonic clock."""
    FINISHED = "finished"
    """``[number, started, seconds, outcome]``, after `ACCEPTED` or in place of it; and the slot, where it is not 0."""
    RETURNED = "returned"
    """``[numbers]``: the answer to `TAKE_BACK`: these have not started and never will, here."""
    FAILING = "failing"
    """``[reason, exit code]``: the inner pool cannot go on."""
    SIZE = "size"
    """``[slots]``: the inner pool now has so many."""
    # To the child.
    TAKE_BACK = "take back"
    """``[numbers]``: give back what has not started of these; an empty list: everything."""
    CANCEL = "cancel"
    """``[number, how]``, for an inner pool."""
    RESIZE = "resize"
    """``[by]``: grow or shrink the inner pool."""
    END_JOBS = "end jobs"
    """End whatever runs in the inner pool, at once."""
    QUIT = "quit"
    """Finish what runs, and exit."""


_ACCEPTED = f'["{Word.ACCEPTED}",'
_FINISHED = f'["{Word.FINISHED}",'


def frame(kind: FrameKind, payload: bytes) -> bytes:
    """Return one frame."""
    return HEADER.pack(len(payload), kind) + payload


def jobs_frame(entries: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the frame of jobs, each with its number in this pool."""
    parts: list[bytes] = []
    for number, job in entries:
        parts.append(_ENTRY.pack(number, len(job)))
        parts.append(job)
    return frame(FrameKind.JOBS, b"".join(parts))


def news_frame(news: Iterable[News]) -> bytes:
    """Return the frame of news."""
    return frame(FrameKind.NEWS, _encode(list(news)).encode())


def accepted_news(number: int, started: float, slot: int) -> bytes:
    """Return the news of an `ACCEPTED` job as one item of the list in a frame; times are kept to the microsecond."""
    return f"{_ACCEPTED}{number},{started:.6f},{slot}]".encode()


def tells_start(journal: bytes, number: int) -> bool:
    """Whether the `accepted_news` of a job are among these news."""
    return f"{_ACCEPTED}{number},".encode() in journal


def finished_news(number: int, started: float, seconds: float, outcome: Outcome, slot: int = 0) -> bytes:
    """Return the news of a `FINISHED` job as one item of the list in a frame; times are kept to the microsecond."""
    if outcome.failure is None and not (outcome.requeue or outcome.invalid or outcome.expected or outcome.fenced):
        # What most jobs end with, spelt out.
        stored, result = "true" if outcome.stored else "false", _quoted(outcome.result)
        told = f'["{outcome.kind}",{stored},{outcome.runtime:.6f},{result}]'
    else:
        told = _encode(outcome_to_news(outcome))
    place = f",{slot}" if slot else ""
    return f"{_FINISHED}{number},{started:.6f},{seconds:.6f},{told}{place}]".encode()


def read_jobs(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what `jobs_frame` was given.

    Raises:
        KernelBug: it ends within a job.
    """
    position, end = 0, len(payload)
    while position < end:
        number, length = _ENTRY.unpack_from(payload, position) if end - position >= _ENTRY.size else (0, end)
        position += _ENTRY.size
        if length > end - position:
            raise KernelBug(f"jobs of {end} bytes end within one of them")
        yield number, payload[position : position + length]
        position += length


def read_news(payload: bytes) -> list[list[Any]]:
    """Return what `news_frame` was given.

    Raises:
        KernelBug: it is no list of lists.
    """
    try:
        text = payload.decode()
        news, end = _decode(text)
    except ValueError as exc:
        raise KernelBug(f"news of {len(payload)} bytes cannot be read: {exc}") from exc
    if end != len(text) or not isinstance(news, list) or not all(isinstance(one, list) and one for one in news):
        raise KernelBug(f"news of {len(payload)} bytes is not a list of lists")
    return news


class FrameReader:
    """Cuts a stream of bytes into frames, however it was cut by the pipe."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what was read, and return the kind and payload of each frame that is now complete.

        Raises:
            KernelBug: what came is no frame.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:  # a large frame comes in many pieces: do not look at each
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[tuple[int, bytes]] = []
        position, end = 0, len(data)
        while end - position >= HEADER.size:
            length, kind = HEADER.unpack_from(data, position)
            if length > LARGEST or kind not in _KINDS:
                raise KernelBug(f"a frame that claims to have {length} bytes, of kind {kind}")
            start = position + HEADER.size
            if end - start < length:
                break
            frames.append((kind, data[start : start + length]))
            position = start + length
        self._keep(data, position)
        return frames

    def _keep(self, data: bytes, position: int) -> None:
        if position < len(data):
            self._rest += memoryview(data)[position:]
            known = len(self._rest) >= HEADER.size
            self._wanted = HEADER.size + (HEADER.unpack_from(self._rest)[0] if known else 0)


def outcome_to_news(outcome: Outcome) -> list[Any]:
    """Return an outcome as JSON has it; the common ends are short."""
    told: list[Any] = [outcome.kind, outcome.stored, round(outcome.runtime, 6), outcome.result]
    flags = (outcome.requeue, outcome.invalid, outcome.expected, outcome.fenced)
    if outcome.failure is not None or any(flags):
        failure = outcome.failure
        said = None if failure is None else [failure.type, failure.module, list(failure.args), failure.traceback]
        told += [said, [int(flag) for flag in flags]]
    return told


def outcome_from_news(job_id: str, told: Sequence[Any]) -> Outcome:
    """Return the outcome that `outcome_to_news` was given."""
    kind, stored, runtime, result = told[:4]
    if len(told) == 4:
        return Outcome(job_id=job_id, kind=_OUTCOME_KINDS[kind], stored=stored, runtime=runtime, result=result)
    said, (requeue, invalid, expected, fenced) = told[4:]
    failure = None
    if said is not None:
        name, module, args, traceback = said
        failure = Failure(type=name, module=module, args=tuple(args), traceback=traceback)
    return Outcome(
        job_id=job_id,
        kind=_OUTCOME_KINDS[kind],
        stored=stored,
        runtime=runtime,
        result=result,
        failure=failure,
        requeue=bool(requeue),
        invalid=bool(invalid),
        expected=bool(expected),
        fenced=bool(fenced),
    )
