"""The way of a task is drawn for each kind of pool, in diagrams that can be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "design" / "sequences.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
KINDS = ("solo", "threads", "gevent and eventlet", "prefork", "Hosted: another pool with --processes")


def test_there_is_one_for_each_kind() -> None:
    assert tuple(SECTIONS) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_sends_or_receives_takes_part_and_the_result_is_stored_before_the_message_is_settled(kind: str) -> None:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", SECTIONS[kind], re.DOTALL)
    first, *lines = [line.strip() for line in diagram.splitlines()]
    assert first == "sequenceDiagram"
    parts = {match[1] for line in lines if (match := re.match(r"participant (\w+) as .+$", line))}
    arrows = [match.groups() for line in lines if (match := re.match(r"(\w+)-?->>(\w+): (.+)$", line))]
    others = [line for line in lines if not re.match(r"participant |\w+-?->>\w+: |Note over |(loop|alt) .|end$", line)]
    assert others == []
    assert {end for begin, to, _ in arrows for end in (begin, to)} == parts
    assert sum(line == "end" for line in lines) == sum(line.startswith(("loop ", "alt ")) for line in lines)
    said = [text for _, _, text in arrows]
    assert said.index("result") < said.index("finished(outcome)") < said.index("acknowledged")
