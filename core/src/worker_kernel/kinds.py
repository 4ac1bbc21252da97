"""Kinds of settings: ready-made parsers for `Setting.parse`.

Each takes what was given, text from files, environment and command line or a value from code, and returns the
setting's value. Each raises a ValueError whose text is a phrase that says what was expected, such as
``a whole number >= 1``; whoever reads the settings adds the setting's name, what was given, and where.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from .settings import Parser

_YES = frozenset({"1", "yes", "true", "on", "y", "t"})
_NO = frozenset({"0", "no", "false", "off", "n", "f"})
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?")


def optional(parse: Parser) -> Parser:
    """Return a parser that takes None, and the word ``none``, besides what ``parse`` takes."""

    def parsed(given: object) -> object:
        if given is None or (isinstance(given, str) and given.strip().lower() == "none"):
            return None
        try:
            return parse(given)
        except ValueError as exc:
            raise ValueError(f"{exc}, or none") from None

    return parsed


def either(word: str, parse: Parser) -> Parser:
    """Return a parser that takes ``word``, in whatever case, besides what ``parse`` takes."""

    def parsed(given: object) -> object:
        if isinstance(given, str) and given.strip().lower() == word:
            return word
        try:
            return parse(given)
        except ValueError as exc:
            raise ValueError(f"{exc}, or {word}") from None

    return parsed


LARGEST = 2**53
"""Of whole numbers: what JSON and floating point can carry, and more than there is of anything."""


def whole(minimum: int = 0) -> Parser:
    """Return a parser of whole numbers that are at least ``minimum``, and at most `LARGEST`."""

    def parsed(given: object) -> int:
        expected = f"a whole number >= {minimum}"
        if isinstance(given, str):
            try:
                given = int(given)
            except ValueError:
                raise ValueError(expected) from None
        if isinstance(given, bool) or not isinstance(given, int) or given < minimum:
            raise ValueError(expected)
        if given > LARGEST:
            raise ValueError(f"{expected}, and no more than {LARGEST}")
        return given

    return parsed


def number(minimum: float = 0.0, *, infinite: bool = False, what: str = "a number") -> Parser:
    """Return a parser of numbers that are at least ``minimum``; ``inf`` only where ``infinite``, never ``nan``."""

    def parsed(given: object) -> float:
        expected = f"{what} >= {minimum:g}" + (" or inf" if infinite else "")
        if isinstance(given, timedelta):
            given = given.total_seconds()
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            raise ValueError(expected)  # noqa: TRY004  (a parser's errors are ValueErrors)
        try:
            value = float(given)
        except ValueError:
            raise ValueError(expected) from None
        if math.isnan(value) or value < minimum or (math.isinf(value) and not infinite):
            raise ValueError(expected)
        return value

    return parsed


def seconds(*, zero: bool = True, infinite: bool = False) -> Parser:
    """Return a parser of durations in seconds, as a number or a timedelta.

    Args:
        zero: whether 0 is allowed.
        infinite: whether ``inf`` is allowed.
    """
    parse = number(infinite=infinite, what="seconds")

    def parsed(given: object) -> float:
        expected = f"seconds {'>=' if zero else '>'} 0" + (" or inf" if infinite else "")
        try:
            value = parse(given)
        except ValueError:
            raise ValueError(expected) from None
        assert isinstance(value, float)  # noqa: S101  (number returns nothing else)
        if value == 0 and not zero:
            raise ValueError(expected)
        return value

    return parsed


def yes_no(given: object) -> bool:
    """Parse a yes or a no: a bool, 0 or 1, or one of the usual words."""
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower() if isinstance(given, (int, str)) else ""
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError("yes or no (true, false, on, off, 1, 0)")


def text(given: object) -> str:
    """Parse text that is not blank."""
    if not isinstance(given, str) or not given.strip():
        raise ValueError("text")
    return given.strip()


def choice(*names: str, also: Mapping[str, str] | None = None) -> Parser:
    """Return a parser of one of ``names``, in whatever case; ``also`` maps further spellings to a name."""
    spellings = {name.lower(): name for name in names}
    spellings.update({other.lower(): name for other, name in (also or {}).items()})

    def parsed(given: object) -> str:
        found = spellings.get(given.strip().lower()) if isinstance(given, str) else None
        if found is None:
            raise ValueError(f"one of {', '.join(names)}")
        return found

    return parsed


def kib(given: object) -> int:
    """Parse a size into KiB (>= 1): a whole number of KiB, or text with a unit (``200MB``, ``1GiB``), rounded up."""
    expected = "a size in KiB (>= 1), or with a unit: 200MB, 1GiB"
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    elif isinstance(given, str) and (match := _SIZE.fullmatch(given.strip())) is not None:
        digits, prefix, binary = match.groups()
        if not prefix and (binary or given.strip()[-1] in "bB"):
            raise ValueError(expected)  # plain bytes: too easily taken for the KiB that a bare number means
        if prefix:
            factor = (1024 if binary else 1000) ** ("KMGT".index(prefix.upper()) + 1)
            size = math.ceil(float(digits) * factor / 1024)
        elif "." in digits:
            raise ValueError(expected)
        else:
            size = int(digits)
    else:
        raise ValueError(expected)
    if size < 1:
        raise ValueError(expected)
    return size


def names(given: object) -> tuple[str, ...]:
    """Parse a list of names, or text with commas between them, into a tuple without repetitions, in the order given."""
    parts: Iterable[object]
    if isinstance(given, str):
        parts = given.split(",")
    elif isinstance(given, (list, tuple)):
        parts = given
    else:
        raise ValueError("names with commas between them")  # noqa: TRY004  (a parser's errors are ValueErrors)
    found: list[str] = []
    for part in parts:
        if not isinstance(part, str) or not part.strip():
            raise ValueError("names with commas between them")
        if part.strip() not in found:
            found.append(part.strip())
    return tuple(found)


def autoscale(given: object) -> tuple[int, int]:
    """Parse ``MAX,MIN`` or ``MAX`` (then MIN is 1) into ``(maximum, minimum)``, both >= 1, in whichever order given."""
    expected = "MAX,MIN or MAX: whole numbers >= 1"
    parts: Iterable[object]
    if isinstance(given, str):
        parts = given.split(",")
    elif isinstance(given, (list, tuple)):
        parts = given
    else:
        parts = [given]
    try:
        found = [whole(1)(part) for part in parts]
    except ValueError:
        raise ValueError(expected) from None
    numbers = sorted(value for value in found if isinstance(value, int))
    if len(numbers) not in (1, 2):
        raise ValueError(expected)
    return numbers[-1], numbers[0] if len(numbers) == 2 else 1


def url(given: object) -> str:
    """Parse a URL, or several to fail over between: a list, or text with semicolons; returns text with semicolons."""
    parts = given.split(";") if isinstance(given, str) else given
    expected = "a URL with a scheme, such as sqlite:///kernel.db or amqp://localhost"
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError(expected)
    for part in parts:
        if not isinstance(part, str) or _SCHEME.match(part.strip()) is None:
            raise ValueError(expected)
    return ";".join(part.strip() for part in parts)


def rate(given: object) -> str:
    """Parse a rate: runs per second, or with a unit: ``10``, ``10/s``, ``10/m``, ``10/h``."""
    spelled = str(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else given
    if not isinstance(spelled, str) or (match := _RATE.fullmatch(spelled.strip())) is None or float(match[1]) == 0:
        raise ValueError("a rate > 0: 10 or 10/s, 10/m, 10/h")
    return spelled.strip()


def mapping(given: object) -> Mapping[str, object]:
    """Parse a table: a mapping from code or a file, or a JSON object in text."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise ValueError('a table, or a JSON object such as {"key": 1}') from None
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ValueError('a table, or a JSON object such as {"key": 1}')
    return dict(given)


def node_name(given: object) -> str:
    """Parse a worker's name, which is not expanded yet; ``@%h`` is added where there is no host."""
    name = text(given)
    if not isinstance(name, str) or len(name.split()) != 1:
        raise ValueError("a name without blanks, such as w1@%h")
    return name if "@" in name else f"{name}@%h"


def multiplier(given: object) -> object:
    """Parse a prefetch multiplier; Celery's 0, without limit, is refused: it takes messages from other workers."""
    try:
        return whole(1)(given)
    except ValueError:
        raise ValueError(
            "a whole number >= 1 (Celery's 0, no limit, would hold messages that other workers could run)"
        ) from None
