"""What a mistyped name is answered with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_kernel.suggestions import did_you_mean, nearest

NAMES = ["prefork", "threads", "solo"]


@pytest.mark.parametrize(("name", "near"), [("thread", "threads"), ("prefrok", "prefork"), ("kafka", None), ("", None)])
def test_the_most_similar_name_is_suggested_if_there_is_one(name: str, near: str | None) -> None:
    assert nearest(name, NAMES) == near


def test_the_order_of_what_is_known_does_not_matter() -> None:
    equally_near = ["queue_b", "queue_a"]
    assert nearest("queue_c", equally_near) == nearest("queue_c", equally_near[::-1])


def test_the_end_of_a_sentence_is_empty_where_nothing_is_near() -> None:
    assert did_you_mean("thread", NAMES) == "; did you mean 'threads'?"
    assert did_you_mean("kafka", NAMES) == ""


def test_only_a_mistake_pays_for_the_search() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what measures coverage may have come first
        "import worker_kernel.cli.main\n"
        "print({'difflib'} & set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
