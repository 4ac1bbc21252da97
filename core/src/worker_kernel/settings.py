"""Settings: declared once, read from five places, each value with its source."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping

import attrs

from .errors import KernelBug


class Layer(enum.IntEnum):
    """Where a value can come from, from far away to close to the user; the closer one wins."""

    DEFAULT = 0
    APP = 1
    FILE = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


@attrs.frozen(kw_only=True)
class Source:
    """Where one value came from."""

    layer: Layer
    """Which of the five places."""
    location: str = ""
    """For people: ``kernel.toml:12``, ``KERNEL_WORKER_POOL``, ``-P``, ``App('proj')``; empty for a default."""

    def __str__(self) -> str:
        return self.location or self.layer.name.lower().replace("_", " ")


Parser = Callable[[object], object]
"""Turns what was given (text from files, environment and command line, or a value from code) into the setting's value.

Raises:
    ValueError: with a phrase that says what was expected, for example ``a whole number >= 1``.
"""


@attrs.frozen(kw_only=True)
class Setting:
    """The declaration of one setting: yields its option, its environment variable, its key and its row in the docs."""

    name: str
    """The key, Celery's where Celery has one: ``worker_concurrency``. The variable is ``KERNEL_WORKER_CONCURRENCY``."""
    parse: Parser
    """See `Parser`; the ready-made ones are in `worker_kernel.kinds`."""
    kind: str
    """For the docs and for error messages: ``whole number``, ``seconds``, ``yes or no``, ..."""
    default: object = None
    """The value where nobody gives one. Not parsed."""
    unit: str = ""
    """``seconds``, ``bytes``, ``KiB``, ``items``, or empty."""
    help: str = ""
    """One sentence, with what None, 0 and inf mean where they are allowed."""
    options: tuple[str, ...] = ()
    """The command-line spellings: ``("-c", "--concurrency")``. Empty: no option."""
    flag: object = None
    """The value that an option without argument gives; None: the option takes an argument."""
    metavar: str = ""
    """What ``--help`` shows for the argument."""
    secret: bool = False
    """Whether to mask the value (or the passwords within it) wherever it is shown."""
    step: str = ""
    """The worker's step that honours it: until a plugin provides that step, any value but an `idle` one is refused."""
    refused: str = ""
    """Why no pool and no plugin honours it: any value but an `idle` one is refused, for this reason."""
    idle: tuple[object, ...] = (None, False)
    """For ``step`` and ``refused``: the values that ask for nothing, and so are honoured anyway."""
    goes_with: str = ""
    """The setting that this one is a detail of: given without it, it would come to nothing, and is refused."""
    owner: str = "worker-kernel"
    """The distribution that declares it."""

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"KERNEL_{self.name.upper()}"


@attrs.frozen(kw_only=True)
class Value:
    """One effective value."""

    value: object
    """The parsed value."""
    source: Source
    """Where it came from."""


class Settings:
    """The effective settings: immutable, every declared name has a value. Safe to share between threads."""

    def __init__(self, declared: Mapping[str, Setting], values: Mapping[str, Value]) -> None:
        self.declared: Mapping[str, Setting] = dict(declared)
        self._values = dict(values)

    def __getitem__(self, name: str) -> object:
        """Return the value of ``name``.

        Raises:
            KernelBug: nobody declares it. User input never leads here: unknown names are refused when read.
        """
        try:
            return self._values[name].value
        except KeyError:
            raise KernelBug(f"setting {name!r} is read but declared by no plugin") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def get_str(self, name: str) -> str | None:
        """Return a text setting; None where it is unset."""
        value = self[name]
        return None if value is None else str(value)

    def get_int(self, name: str) -> int | None:
        """Return a whole-number setting; None where it is unset."""
        value = self[name]
        if value is None or isinstance(value, int):
            return value
        raise KernelBug(f"setting {name!r} is no whole number: {value!r}")

    def get_float(self, name: str) -> float | None:
        """Return a number setting, usually seconds; None where it is unset."""
        value = self[name]
        if value is None or isinstance(value, (int, float)):
            return None if value is None else float(value)
        raise KernelBug(f"setting {name!r} is no number: {value!r}")

    def get_bool(self, name: str) -> bool:
        """Return a yes-or-no setting; None counts as no."""
        return bool(self[name])

    def source(self, name: str) -> Source:
        """Return where the value of ``name`` came from."""
        return self._values[name].source

    def given(self, name: str) -> bool:
        """Whether anybody gave ``name`` a value; an explicit 0, or one equal to the default, counts as given."""
        return self._values[name].source.layer is not Layer.DEFAULT

    def replacing(self, name: str, value: object, location: str) -> Settings:
        """Return a copy in which ``name`` has another value, keeping its layer."""
        values = dict(self._values)
        values[name] = Value(value=value, source=Source(layer=values[name].source.layer, location=location))
        return Settings(self.declared, values)

    def dropping(self, name: str, why: str) -> Settings:
        """Return a copy in which ``name`` has its default again and counts as not given."""
        values = dict(self._values)
        values[name] = Value(value=self.declared[name].default, source=Source(layer=Layer.DEFAULT, location=why))
        return Settings(self.declared, values)

    def spelled(self, name: str) -> str:
        """Return how ``name`` was given, for messages: ``-c 3``, or ``worker_concurrency = 3 (kernel.toml:2)``."""
        value = self[name]
        source = self.source(name)
        if isinstance(value, (tuple, list)):
            value = ",".join(str(part) for part in value)
        if source.layer is Layer.COMMAND_LINE:
            return source.location if self.declared[name].flag is not None else f"{source.location} {value}"
        return f"{name} = {value} ({source})"
