"""What a run has measured, and its JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import attrs

SCHEMA = 1


@attrs.define(kw_only=True)
class Entry:
    """One contender, or one floor, in one case."""

    rounds: list[dict[str, float]] = attrs.field(factory=list)
    reason: str = ""
    """Why there are no figures, or no more of them."""
    peer: str = ""
    mode: str = ""
    pure: bool = True
    variant: int = 0
    floor: bool = False

    def median(self, figure: str = "value") -> float | None:
        """The median over the rounds; None where it was not measured."""
        values = [one[figure] for one in self.rounds if figure in one]
        return statistics.median(values) if values else None

    def spread(self) -> tuple[float, float]:
        """The least and the largest value."""
        values = [one["value"] for one in self.rounds]
        return min(values), max(values)


@attrs.define(kw_only=True)
class Results:
    """Everything of one run. Keys are only added, within a schema."""

    command: str
    """How to repeat it; one in each line, where runs were joined."""
    date: str
    machine: dict[str, str]
    servers: list[str] = attrs.field(factory=list)
    versions: dict[str, dict[str, str]] = attrs.field(factory=dict)
    load: list[float] = attrs.field(factory=list)
    """The machine's load average after each case."""
    cases: dict[str, dict[str, Entry]] = attrs.field(factory=dict)

    def join(self, other: Results) -> None:
        """Add the cases of another run, on the same machine, that this one has not got."""
        self.command += f"\n{other.command}"
        self.date = max(self.date, other.date)
        self.servers = sorted({*self.servers, *other.servers})
        self.versions = {**other.versions, **self.versions}
        self.load += other.load
        self.cases = {**other.cases, **self.cases}

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"schema": SCHEMA, **attrs.asdict(self)}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` has written.

        Raises:
            ValueError: Another version of the bench has written it.
        """
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (schema := told.pop("schema", None)) != SCHEMA:
            raise ValueError(f"{path} has schema {schema}, and this bench reads {SCHEMA}")
        cases = {
            case: {name: Entry(**entry) for name, entry in entries.items()}
            for case, entries in told.pop("cases").items()
        }
        return cls(**told, cases=cases)
