"""What a child and the worker share: each field is what was last written, and the journal keeps what was not told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_pool_prefork.page import JOURNAL_SIZE, KillReason, Page, make_page_file


@pytest.fixture
def pages() -> Iterator[tuple[Page, Page]]:
    """The child's view and the worker's."""
    fd = make_page_file()
    child, worker = Page(fd), Page(fd)
    yield child, worker
    child.close()
    worker.close()
    os.close(fd)


def test_a_fresh_page_says_that_nothing_runs_and_nothing_is_wanted(pages: tuple[Page, Page]) -> None:
    _, worker = pages
    assert (worker.current, worker.journal, worker.raised, worker.place) == (0, b"", 0, "")
    assert (worker.soft_for[0], worker.kill_for[0]) == (0, 0)


def test_the_worker_sees_what_runs_and_since_when_until_it_has_ended(pages: tuple[Page, Page]) -> None:
    child, worker = pages
    child.begin(7, 12.5)
    assert (worker.current, worker.started) == (7, 12.5)
    child.end(b"[7]")
    assert worker.current == 0
    child.begin(8, 13.5)
    child.end_told()
    assert worker.current == 0
    assert worker.journal == b"[7]", "what was told otherwise is not in the journal"


def test_the_journal_is_a_list_of_what_has_ended_until_it_is_cleared(pages: tuple[Page, Page]) -> None:
    child, worker = pages
    for number in (1, 2, 3):
        child.begin(number, 0.0)
        child.end(json.dumps(["finished", number]).encode())
    assert json.loads(b"[" + worker.journal + b"]") == [["finished", 1], ["finished", 2], ["finished", 3]]
    child.clear_journal()
    assert worker.journal == b""
    child.end(b"[4]")
    assert worker.journal == b"[4]"


@given(lengths=st.lists(st.integers(1, JOURNAL_SIZE + 10), min_size=1, max_size=20))
def test_a_full_journal_takes_nothing_more_and_keeps_what_it_has(lengths: list[int]) -> None:
    fd = make_page_file()
    child = Page(fd)
    kept: list[bytes] = []
    try:
        for length in lengths:
            news = b"x" * length
            if sum(len(one) + 1 for one in kept) + length + 1 > JOURNAL_SIZE:
                with pytest.raises(ValueError, match="full"):
                    child.end(news)
            else:
                kept.append(news)
                assert child.end(news) == sum(len(one) + 1 for one in kept)
            assert child.journal == b",".join(kept)
    finally:
        child.close()
        os.close(fd)


def test_a_job_that_does_not_fit_into_the_journal_has_not_ended_there(pages: tuple[Page, Page]) -> None:
    child, worker = pages
    child.begin(9, 1.0)
    with pytest.raises(ValueError, match="full"):
        child.end(b"x" * JOURNAL_SIZE)
    assert worker.current == 9


@pytest.mark.parametrize("reason", list(KillReason))
def test_the_child_sees_whom_a_signal_is_meant_for(pages: tuple[Page, Page], reason: KillReason) -> None:
    child, worker = pages
    worker.ask_soft(3, 1.5)
    worker.ask_kill(4, reason, 2.5)
    assert child.soft_for == (3, 1.5)
    assert child.kill_for == (4, reason, 2.5)
    assert reason.word in ("time_limit", "cancel", "stop")
    child.mark_raised(4)
    assert worker.raised == 4


@given(text=st.text(max_size=6000))
def test_the_end_of_a_place_is_kept_as_far_as_there_is_room(text: str) -> None:
    fd = make_page_file()
    page = Page(fd)
    try:
        page.note_place(6, "what was seen before")
        page.begin(7, 1.0)
        assert page.place == "", "that was of another job"
        page.note_place(7, text)
        size = len(text.encode("utf-8", "replace"))
        if size <= 4096 - 128:
            assert page.place.encode() == text.encode("utf-8", "replace")
        else:
            assert page.place[-100:] == text[-100:]
        assert (page.current, page.started) == (7, 1.0), "it stays within its field"
    finally:
        page.close()
        os.close(fd)
