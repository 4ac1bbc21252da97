"""Which plugins may be imported: the user's choice, read before anything is.

The choice is a list of words: ``-autoscale`` leaves a plugin out, ``+acme`` demands it (a worker does not boot without
it), ``+acme-pool:gevent`` also picks it among several that claim the name, ``-acme-pool:gevent`` leaves out that one
only. It is read from the key ``plugins`` of the configuration file, then from ``KERNEL_PLUGINS`` (words separated by
commas or blanks), then from what the command line names; of two words on one plugin the later one holds.
``--safe-mode`` sets all that aside: only what a solo worker on the embedded broker needs is left.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from .. import configfile
from ..suggestions import did_you_mean
from .discovery import sort_key
from .found import USABLE, Found, Kind, Status
from .hints import distribution_of
from .plainversions import normalized

VARIABLE = "KERNEL_PLUGINS"
"""The environment variable."""

SAFE: Mapping[str, str] = {
    "hub": "worker-hub",
    "loops": "worker-loops",
    "solo": "worker-pool-solo",
    "sqlite": "worker-broker-sqlite",
}
"""What ``--safe-mode`` leaves: plugin name -> distribution."""

_WORD = re.compile(r"(?P<sign>[+-])(?:(?P<dist>[^:\s]+):)?(?P<name>[^:\s]+)")


@attrs.frozen(kw_only=True)
class Word:
    """One word of the choice."""

    wanted: bool
    """Demanded (``+``) or left out (``-``)."""
    name: str
    """The plugin's name."""
    dist: str = ""
    """The normalised name of its distribution; empty: any."""
    kind: Kind | None = None
    """What it must be; None: anything."""
    given: str
    """For messages: ``KERNEL_PLUGINS=-autoscale``, ``-P gevent``."""

    def names(self, row: Found) -> bool:
        """Whether the word is about this plugin."""
        return self.name == row.name and self.dist in ("", normalized(row.dist)) and self.kind in (None, row.kind)


@attrs.frozen(kw_only=True)
class Selection:
    """The user's choice of plugins. Of two words on one plugin the later one holds."""

    words: tuple[Word, ...] = ()
    """In the order in which they count."""
    safe_mode: bool = False
    """Whether only `SAFE` is left; then no word counts."""

    @staticmethod
    def read(
        *,
        environ: Mapping[str, str],
        configured: object = (),
        location: str = "plugins",
        safe_mode: bool = False,
    ) -> tuple[Selection, tuple[str, ...]]:
        """Return the choice, and a sentence for each word that cannot be understood; such a word counts for nothing.

        Args:
            environ: where ``KERNEL_PLUGINS`` is looked up.
            configured: the value of the key ``plugins``: a list of words, or one text.
            location: where that value stands, for messages.
            safe_mode: whether ``--safe-mode`` was given.
        """
        if isinstance(configured, str):
            configured = _split(configured)
        problems: list[str] = []
        if not isinstance(configured, Sequence) or not all(isinstance(word, str) for word in configured):
            problems.append(f"{location}: expected a list of words such as '-autoscale', got {configured!r}")
            configured = ()
        words: list[Word] = []
        given = [(word, f"{location}: ") for word in configured]
        given += [(word, f"{VARIABLE}=") for word in _split(environ.get(VARIABLE, ""))]
        for text, where in given:
            match = _WORD.fullmatch(text)
            if match is None:
                hint = f", did you mean '-{text}' or '+{text}'?" if re.fullmatch(r"[\w.-]+", text) else ""
                problems.append(f"{where}{text}: expected -NAME, +NAME, -DIST:NAME or +DIST:NAME{hint}")
                continue
            words.append(_word(match["sign"] == "+", match["name"], match["dist"] or "", f"{where}{text}"))
        return Selection(words=tuple(words), safe_mode=safe_mode), tuple(problems)

    def wanting(self, names: Collection[str], *, kind: Kind | None = None, given: str = "") -> Selection:
        """Return a copy that also demands ``names``, each ``name`` or ``dist:name``; ``given`` is for messages."""
        more = []
        for text in names:
            dist, colon, name = text.rpartition(":")
            more.append(_word(True, name, dist if colon else "", given or f"{text} is required", kind))
        return attrs.evolve(self, words=(*self.words, *more))

    def apply(self, found: Iterable[Found]) -> tuple[Found, ...]:
        """Return the rows with their statuses after the choice, rows for missing plugins included, in order.

        A plugin that is left out is in no conflict. Those that claim one name and kind are, all of them, unless a
        word with a distribution picks one.
        """
        rows = [self._choose(row) for row in found]
        rows = _conflicts(rows)
        if not self.safe_mode:
            rows += [
                Found(name=word.name, kind=word.kind or Kind.PLUGIN, dist=word.dist).becoming(
                    Status.MISSING, word.given, _remedy(word, rows)
                )
                for word in self._demands()
                if not any(word.names(row) for row in rows)
            ]
        return tuple(sorted(rows, key=sort_key))

    def idle(self, found: Collection[Found]) -> tuple[str, ...]:
        """Return a sentence for each word that leaves out a plugin which is not there anyway."""
        names = [row.name for row in found]
        return tuple(
            f"{word.given} names no installed plugin{did_you_mean(word.name, names)}"
            for word in self.words
            if not word.wanted and not any(word.names(row) for row in found)
        )

    def required(self, row: Found) -> str:
        """Return the word by which a plugin is demanded, for messages; ``""`` where it is not."""
        if self.safe_mode:
            return ""
        holding = [word for word in self.words if word.names(row)]
        return holding[-1].given if holding and holding[-1].wanted else ""

    def _demands(self) -> list[Word]:
        """The words that demand, without those that a later word takes back; one per name and distribution."""
        last = {(word.name, word.dist, word.kind): word for word in self.words}
        return [word for word in last.values() if word.wanted]

    def _choose(self, row: Found) -> Found:
        if self.safe_mode:
            if SAFE.get(row.name) == normalized(row.dist):
                return row
            return row.becoming(Status.DISABLED, "by --safe-mode", "leave out --safe-mode")
        holding = [word for word in self.words if word.names(row)]
        if holding and not holding[-1].wanted:
            return row.becoming(Status.DISABLED, f"by {holding[-1].given}", f"leave out {holding[-1].given}")
        picked = [word for word in self.words if word.wanted and word.dist and attrs.evolve(word, dist="").names(row)]
        if picked and not picked[-1].names(row):
            return row.becoming(Status.DISABLED, f"{picked[-1].given} picks another", f"leave out {picked[-1].given}")
        if holding and row.status in USABLE:
            return row.becoming(Status.SELECTED, holding[-1].given)
        return row


def choice(
    *, environ: Mapping[str, str] | None = None, directory: Path | None = None, safe_mode: bool = False
) -> tuple[Selection, tuple[str, ...]]:
    """Read the choice of plugins of the configuration file and of ``KERNEL_PLUGINS``, with a sentence per problem."""
    file = configfile.read(directory or Path())
    return Selection.read(
        environ=os.environ if environ is None else environ,
        configured=file.values.get("plugins", ()),
        location=f"plugins ({file.location('plugins')})",
        safe_mode=safe_mode,
    )


def _remedy(word: Word, rows: Iterable[Found]) -> str:
    dist = word.dist or distribution_of(word.name)
    known = [row.name for row in rows if word.kind in (None, row.kind)]
    guess = did_you_mean(word.name, known).removeprefix("; ")
    return guess or (f"pip install {dist}" if dist else f"install a plugin of that name, or leave out {word.given}")


def _conflicts(rows: Sequence[Found]) -> list[Found]:
    claims: dict[tuple[Kind, str], list[Found]] = defaultdict(list)
    for row in rows:
        if row.status is not Status.DISABLED:
            claims[row.kind, row.name].append(row)
    result = []
    for row in rows:
        rivals = [other for other in claims[row.kind, row.name] if normalized(other.dist) != normalized(row.dist)]
        if row.status is Status.DISABLED or not rivals:
            result.append(row)
            continue
        reason = (
            f"{row.kind} {row.name!r} of {row.source} is claimed by {', '.join(one.source for one in rivals)} as well"
        )
        result.append(row.becoming(Status.CONFLICT, reason, f"pick one: {VARIABLE}=+{row.dist}:{row.name}"))
    return result


def _word(wanted: bool, name: str, dist: str, given: str, kind: Kind | None = None) -> Word:
    return Word(wanted=wanted, name=name, dist=normalized(dist) if dist else "", kind=kind, given=given)


def _split(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]
