"""Canvas: chains, groups and chords as data, unfolded into the single calls that are to be sent now."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import attrs

from ..errors import MessageInvalid, UnsupportedOption
from .message import SendOptions
from .signature import Call, listed, read_call

DEPTH_LIMIT = 100
"""How deeply chains, groups and chords may be nested in each other."""
_OWN = frozenset({"task_id", "group_id", "group_index", "chord", "chain", "parent_id", "link", "link_error"})
"""Options of a group or chord that are not handed on to each of its tasks."""


@attrs.frozen(kw_only=True)
class Membership:
    """That a task belongs to a group, and whose result is waited for by a chord."""

    group_id: str
    """The group."""
    index: int
    """Its place in the group, from 0."""
    chord: Mapping[str, Any] | None
    """What is sent when the whole group has succeeded: the chord's body, a signature; None: nothing."""

    def options(self) -> dict[str, Any]:
        """Return it as options of a call."""
        found = {"group_id": self.group_id, "group_index": self.index}
        return found if self.chord is None else {**found, "chord": self.chord}


@attrs.frozen(kw_only=True)
class Dispatch:
    """What is to be sent at one moment. Each call is yet to be given what comes before it."""

    calls: tuple[Call, ...] = ()
    """The calls, in the order in which they are sent."""
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    """For each chord that begins with these calls, by group id: how many results it waits for."""

    def given(self, argument: object) -> tuple[Call, ...]:
        """Return the calls with ``argument`` put first, as `Call.given` does."""
        return tuple(call.given(argument) for call in self.calls)


@attrs.frozen(kw_only=True)
class Heir:
    """A task that is never sent when one before it fails: it has the same fate."""

    task_id: str | None
    """Its id; None where the sender gave it none."""
    membership: Membership | None
    """The group whose result it would have been part of."""


def unfold(item: object, family: Mapping[str, str], *, then: Sequence[object] = (), depth: int = 0) -> Dispatch:
    """Return the calls with which a signature begins.

    Args:
        item: a signature of a task, a chain, a group or a chord: plain data from a message.
        family: ``parent_id`` and ``root_id`` where a signature has none.
        then: what follows when all of it has ended, the next one last.
        depth: how deeply ``item`` is nested.

    Raises:
        UnsupportedOption: it is of an unknown kind, or asks for something that is not supported.
        MessageInvalid: it is malformed.
    """
    if depth > DEPTH_LIMIT:
        raise MessageInvalid(f"the message asks to send signatures nested more than {DEPTH_LIMIT} deep")
    match _kind(item):
        case "chain":
            return _chain(_mapping(item), family, then, depth)
        case "group" if then:
            # A group with a successor is a chord, whatever it is called.
            body = _followed_by(then[-1], then[:-1])
            return _chord({"kwargs": {"header": item, "body": body}, "options": {}}, family, (), depth)
        case "group":
            return _group(_mapping(item), family, None, depth)
        case "chord":
            return _chord(_mapping(item), family, then, depth)
        case _:
            call = read_call(item, family)
            rest = [*then, *listed("chain", call.options.get("chain"))]
            options = cast("SendOptions", {**call.options, "chain": rest or None})
            return Dispatch(calls=(attrs.evolve(call, options=options),))


def heirs(item: object, depth: int = 0) -> Iterator[Heir]:
    """Yield the tasks whose results somebody may wait for when ``item`` is never sent. Never raises for plain data."""
    if depth > DEPTH_LIMIT or not isinstance(item, Mapping):
        return
    kwargs, options = _or_empty(item.get("kwargs")), _or_empty(item.get("options"))
    match _kind(item):
        case "chain" | "group":
            for member in _sequence(kwargs.get("tasks")):
                yield from heirs(member, depth + 1)
        case "chord":
            yield from heirs(kwargs.get("body"), depth + 1)
        case _:
            yield Heir(task_id=_text(options, "task_id"), membership=read_membership(options))
    for member in reversed(_sequence(options.get("chain"))):
        yield from heirs(member, depth + 1)


def read_membership(options: Mapping[str, Any]) -> Membership | None:
    """Return the group that a call belongs to as part of a chord; None where it is part of none."""
    chord, group_id, index = options.get("chord"), _text(options, "group_id"), options.get("group_index")
    if not isinstance(chord, Mapping) or group_id is None:
        return None
    return Membership(group_id=group_id, index=index if isinstance(index, int) else -1, chord=chord)


def _chain(item: Mapping[str, Any], family: Mapping[str, str], then: Sequence[object], depth: int) -> Dispatch:
    tasks = _members(item, "tasks", "chain")
    if not tasks:
        raise MessageInvalid("the message asks to send a chain of nothing")
    options = _shared(item)
    first, *rest = [_with_options(task, options) for task in tasks]
    own = listed("chain", _or_empty(item.get("options")).get("chain"))
    return unfold(_marked(first, item), family, then=[*then, *own, *reversed(rest)], depth=depth + 1)


def _group(item: Mapping[str, Any], family: Mapping[str, str], chord: Mapping[str, Any] | None, depth: int) -> Dispatch:
    group_id = _text(_or_empty(item.get("options")), "task_id") or str(uuid.uuid4())
    calls: list[Call] = []
    sizes: dict[str, int] = {}
    members = list(_flat(item, depth))
    for index, member in enumerate(members):
        begun = unfold(_join(member, Membership(group_id=group_id, index=index, chord=chord)), family, depth=depth + 1)
        calls += begun.calls
        sizes |= begun.sizes
    if chord is not None:
        sizes[group_id] = len(members)
    return Dispatch(calls=tuple(calls), sizes=sizes)


def _chord(item: Mapping[str, Any], family: Mapping[str, str], then: Sequence[object], depth: int) -> Dispatch:
    kwargs, options = _or_empty(item.get("kwargs")), _or_empty(item.get("options"))
    header, body = kwargs.get("header"), kwargs.get("body")
    if not isinstance(body, Mapping):
        raise MessageInvalid("the message asks to send a chord without a body")
    if not isinstance(header, Mapping):
        header = {"task": "celery.group", "kwargs": {"tasks": header}, "options": {}, "subtask_type": "group"}
    delays = {name: options[name] for name in ("countdown", "eta") if options.get(name) is not None}
    own = {name: value for name, value in options.items() if name not in {*_OWN, *delays} and value is not None}
    body = _with_options(body, own)
    for name in ("link", "link_error"):
        body = _also(body, name, options.get(name))
    body = _followed_by(_named(body, _text(options, "task_id")), [*then, *listed("chain", options.get("chain"))])
    membership = read_membership(options)
    body = body if membership is None else _join(body, membership)
    begun = _group(_with_options(header, {**own, **delays}), family, body, depth)
    if begun.calls:
        return begun
    # Nothing to wait for: the body gets the empty list of results, not what the chord was given.
    sent = unfold(body, family, depth=depth + 1)
    return attrs.evolve(sent, calls=tuple(attrs.evolve(call.given([]), immutable=True) for call in sent.calls))


def _kind(item: object) -> str:
    """Return ``chain``, ``group``, ``chord``, or ``""`` for a single task.

    Raises:
        UnsupportedOption: it is something else.
    """
    if not isinstance(item, Mapping):
        return ""
    kind = item.get("subtask_type")
    if not kind:
        name = item.get("task")
        return {"celery.chain": "chain", "celery.group": "group", "celery.chord": "chord"}.get(str(name), "")
    if kind not in ("chain", "group", "chord"):
        raise UnsupportedOption(f"the message asks to send a {kind!s:.50}; supported are task, chain, group and chord")
    return str(kind)


def _flat(item: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield a group's tasks with the group's options; groups in it are part of it."""
    if depth > DEPTH_LIMIT:
        raise MessageInvalid(f"the message asks to send groups nested more than {DEPTH_LIMIT} deep")
    for name in ("link", "link_error", "chain"):
        if _or_empty(item.get("options")).get(name):
            raise UnsupportedOption(f"the message asks to send a group with {name}; give it to the tasks in it")
    options = _shared(item)
    for member in _members(item, "tasks", "group"):
        one = _marked(_with_options(member, options), item)
        if _kind(one) == "group":
            yield from _flat(one, depth + 1)
        else:
            yield one


def _join(item: Mapping[str, Any], membership: Membership) -> dict[str, Any]:
    """Return a signature whose result, the last one of a chain and the body's of a chord, belongs to a group."""
    kwargs, options = _or_empty(item.get("kwargs")), _or_empty(item.get("options"))
    match _kind(item):
        case "chain":
            tasks = _members(item, "tasks", "chain")
            if tasks:
                tasks = [*tasks[:-1], _join(tasks[-1], membership)]
            return {**item, "kwargs": {**kwargs, "tasks": tasks}}
        case "group":
            raise UnsupportedOption("the message asks to send a chord of which one result is itself a group")
        case "chord":
            return {**item, "options": {**options, **membership.options()}}
        case _:
            return {**item, "options": {**options, **membership.options()}}


def _members(item: Mapping[str, Any], key: str, what: str) -> list[Mapping[str, Any]]:
    members = _or_empty(item.get("kwargs")).get(key)
    if not isinstance(members, (list, tuple)) or not all(isinstance(member, Mapping) for member in members):
        raise MessageInvalid(f"the message asks to send a {what} whose {key} are no signatures")
    return list(members)


def _shared(item: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a chain or group that hold for each task in it."""
    options = _or_empty(item.get("options"))
    return {name: value for name, value in options.items() if name not in _OWN and value is not None}


def _with_options(item: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "options": {**_or_empty(item.get("options")), **options}}


def _marked(item: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """What takes nothing from the task before it, does so in all its parts."""
    return {**item, "immutable": bool(item.get("immutable") or whole.get("immutable"))}


def _named(item: Mapping[str, Any], task_id: str | None) -> dict[str, Any]:
    """Give a signature an id where it has none."""
    options = _or_empty(item.get("options"))
    return dict(item) if task_id is None else {**item, "options": {"task_id": task_id, **options}}


def _followed_by(item: object, then: Sequence[object]) -> dict[str, Any]:
    """Return a signature with what follows it, the next one last."""
    signature = _mapping(item)
    if not then:
        return dict(signature)
    options = _or_empty(signature.get("options"))
    return {**signature, "options": {**options, "chain": [*then, *listed("chain", options.get("chain"))]}}


def _also(item: Mapping[str, Any], name: str, more: object) -> dict[str, Any]:
    added = listed(name, more)
    options = _or_empty(item.get("options"))
    return {**item, "options": {**options, name: [*listed(name, options.get(name)), *added]}} if added else dict(item)


def _mapping(item: object) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise MessageInvalid(f"the message asks to send {item!r:.200}, which is no signature")
    return item


def _or_empty(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _text(options: Mapping[str, Any], name: str) -> str | None:
    found = options.get(name)
    return found if isinstance(found, str) else None
