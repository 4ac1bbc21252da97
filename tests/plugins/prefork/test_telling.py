"""What an inner pool tells: on the page at once, in the pipe later, and known to the worker at any instant."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import Outcome, OutcomeKind
from worker_pool_prefork.frames import FrameReader, Word, accepted_news, finished_news, read_news
from worker_pool_prefork.page import JOURNAL_SIZE, Page, make_page_file
from worker_pool_prefork.telling import TICK, Teller

DONE = Outcome(job_id="", kind=OutcomeKind.SUCCEEDED, stored=True)


class Pipe:
    """Keeps what is sent; in place of a `Link`."""

    def __init__(self) -> None:
        self.frames: list[list[list[Any]]] = []

    def send(self, frame: bytes) -> None:
        self.frames += [read_news(payload) for _, payload in FrameReader().feed(frame)]


class Scene:
    def __init__(self) -> None:
        self._fd = make_page_file()
        self.child, self.worker = Page(self._fd), Page(self._fd)
        self.pipe = Pipe()
        self.teller = Teller(self.pipe, self.child)  # type: ignore[arg-type]  # as much of a link as it uses

    def start(self, number: int) -> None:
        self.teller.started(number, accepted_news(number, 1.0, 3))

    def end(self, number: int, now: float = 2.0, *, urgent: bool = False) -> None:
        self.teller.ended(number, finished_news(number, 1.0, 1.0, DONE, 3), now, urgent=urgent)

    @property
    def journal(self) -> list[list[Any]]:
        """What the worker would read from the page."""
        read: list[list[Any]] = json.loads(b"[" + self.worker.journal + b"]")
        return read

    def close(self) -> None:
        self.child.close()
        self.worker.close()
        os.close(self._fd)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def words(news: list[list[Any]]) -> list[tuple[str, int]]:
    return [(word, number) for word, number, *_ in news]


def test_a_start_is_on_the_page_when_it_has_been_told_and_not_in_the_pipe(scene: Scene) -> None:
    scene.start(7)
    assert scene.journal == [[Word.ACCEPTED, 7, 1.0, 3]]
    assert scene.pipe.frames == []


def test_an_end_takes_the_place_of_its_start_in_the_pipe(scene: Scene) -> None:
    scene.start(7)
    scene.start(8)
    scene.end(7)
    scene.teller.flush()
    (frame,) = scene.pipe.frames
    assert words(frame) == [(Word.FINISHED, 7), (Word.ACCEPTED, 8)]
    assert frame[0][-1] == 3, "the slot, which nobody else tells"
    assert scene.journal == []


def test_an_end_that_nothing_follows_is_told_at_once_with_all_that_waits(scene: Scene) -> None:
    scene.start(7)
    scene.start(8)
    scene.end(7)
    assert scene.pipe.frames == []
    scene.end(8, urgent=True)
    assert [words(frame) for frame in scene.pipe.frames] == [[(Word.FINISHED, 7), (Word.FINISHED, 8)]]


def test_no_end_is_kept_back_for_longer_than_a_tick_while_others_follow(scene: Scene) -> None:
    for number, now in ((1, 5.0), (2, 5.0 + TICK / 2), (3, 5.0 + 2 * TICK)):
        scene.start(number)
        scene.end(number, now)
    assert [len(frame) for frame in scene.pipe.frames] == [3]


def test_much_is_told_before_the_journal_is_full(scene: Scene) -> None:
    number = 0
    while not scene.pipe.frames:
        number += 1
        scene.start(number)
        scene.end(number)
        assert len(scene.worker.journal) < JOURNAL_SIZE
    assert [number for _, number in words(scene.pipe.frames[0])] == list(range(1, number + 1))


def test_starts_alone_fill_the_journal_and_are_told_then(scene: Scene) -> None:
    count = 0
    while not scene.pipe.frames:
        count += 1
        scene.start(count)
    assert len(scene.pipe.frames[0]) == count - 1
    assert words(scene.journal) == [(Word.ACCEPTED, count)]


def test_news_that_no_journal_can_hold_go_by_themselves(scene: Scene) -> None:
    scene.start(1)
    long = Outcome(job_id="", kind=OutcomeKind.SUCCEEDED, stored=True, result="x" * JOURNAL_SIZE)
    scene.teller.ended(1, finished_news(1, 1.0, 1.0, long), 2.0, urgent=False)
    assert [words(frame) for frame in scene.pipe.frames] == [[(Word.ACCEPTED, 1)], [(Word.FINISHED, 1)]]
    scene.teller.flush()
    assert len(scene.pipe.frames) == 2


@given(steps=st.lists(st.sampled_from(["start", "end", "flush"]), max_size=60))
def test_whatever_ends_the_child_the_worker_knows_all_that_started_and_all_that_ended(steps: list[str]) -> None:
    scene = Scene()
    try:
        running: list[int] = []
        started: set[int] = set()
        ended: set[int] = set()
        for step in steps:
            if step == "start":
                running.append(len(started) + 1)
                started.add(running[-1])
                scene.start(running[-1])
            elif step == "end" and running:
                ended.add(running[0])
                scene.end(running.pop(0))
            elif step == "flush":
                scene.teller.flush()
            told = words([news for frame in scene.pipe.frames for news in frame] + scene.journal)
            assert {number for _, number in told} == started
            assert {number for word, number in told if word == Word.FINISHED} == ended
    finally:
        scene.close()
