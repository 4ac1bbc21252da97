"""Parsers take what the five places give, and say what they expected."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import kinds
from worker_kernel.settings import Parser

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.integers()),
)
PARSERS: dict[str, Parser] = {
    "whole": kinds.whole(1),
    "number": kinds.number(),
    "seconds": kinds.seconds(zero=False, infinite=True),
    "yes_no": kinds.yes_no,
    "text": kinds.text,
    "choice": kinds.choice("a", "b"),
    "kib": kinds.kib,
    "names": kinds.names,
    "autoscale": kinds.autoscale,
    "url": kinds.url,
    "rate": kinds.rate,
    "mapping": kinds.mapping,
    "node_name": kinds.node_name,
    "multiplier": kinds.multiplier,
    "optional": kinds.optional(kinds.whole(1)),
    "either": kinds.either("auto", kinds.whole(1)),
}


@pytest.mark.parametrize("name", PARSERS)
@given(thing=ANYTHING)
def test_a_parser_returns_a_value_or_raises_a_value_error_with_a_phrase(name: str, thing: object) -> None:
    problem = None
    try:
        PARSERS[name](thing)
    except ValueError as exc:
        problem = str(exc)
    assert problem is None or (problem and "\n" not in problem)


@pytest.mark.parametrize("name", PARSERS)
@given(thing=ANYTHING)
def test_what_a_parser_returns_it_takes_again_unchanged(name: str, thing: object) -> None:
    try:
        value = PARSERS[name](thing)
    except ValueError:
        return
    assert PARSERS[name](value) == value


@pytest.mark.parametrize(
    ("parse", "raw", "value"),
    [
        (kinds.whole(0), "0", 0),
        (kinds.whole(1), 7, 7),
        (kinds.seconds(), "2.5", 2.5),
        (kinds.seconds(), timedelta(minutes=2), 120.0),
        (kinds.seconds(infinite=True), "inf", float("inf")),
        (kinds.seconds(), 0, 0.0),
        (kinds.yes_no, "On", True),
        (kinds.yes_no, 0, False),
        (kinds.choice("DEBUG", "INFO"), "info", "INFO"),
        (kinds.choice("CRITICAL", also={"FATAL": "CRITICAL"}), "fatal", "CRITICAL"),
        (kinds.kib, 12000, 12000),
        (kinds.kib, "12000", 12000),
        (kinds.kib, "200MB", 195313),
        (kinds.kib, "1GiB", 1024 * 1024),
        (kinds.kib, "512k", 500),
        (kinds.kib, "1.5 MiB", 1536),
        (kinds.names, "b, a,b", ("b", "a")),
        (kinds.names, ["x"], ("x",)),
        (kinds.autoscale, "10,3", (10, 3)),
        (kinds.autoscale, "3,10", (10, 3)),
        (kinds.autoscale, "4", (4, 1)),
        (kinds.autoscale, 4, (4, 1)),
        (kinds.url, "redis://a; redis://b", "redis://a;redis://b"),
        (kinds.url, ["amqp://a", "amqp://b"], "amqp://a;amqp://b"),
        (kinds.rate, "10/m", "10/m"),
        (kinds.rate, 5, "5"),
        (kinds.mapping, '{"a": 1}', {"a": 1}),
        (kinds.node_name, "w1", "w1@%h"),
        (kinds.node_name, "w1@%d", "w1@%d"),
        (kinds.optional(kinds.whole(1)), "none", None),
        (kinds.optional(kinds.whole(1)), None, None),
        (PARSERS["either"], " Auto", "auto"),
        (PARSERS["either"], "3", 3),
    ],
)
def test_what_is_well_formed_is_taken(parse: Parser, raw: object, value: object) -> None:
    assert parse(raw) == value


@pytest.mark.parametrize(
    ("parse", "raw", "phrase"),
    [
        (kinds.whole(1), 0, "a whole number >= 1"),
        (kinds.whole(1), "many", "a whole number >= 1"),
        (kinds.whole(1), True, "a whole number >= 1"),
        (kinds.whole(1), 1.0, "a whole number >= 1"),
        (kinds.whole(1), "99999999999999999999", "a whole number >= 1, and no more than 9007199254740992"),
        (kinds.seconds(), "-1", "seconds >= 0"),
        (kinds.seconds(), "nan", "seconds >= 0"),
        (kinds.seconds(), "inf", "seconds >= 0"),
        (kinds.seconds(zero=False, infinite=True), "0", "seconds > 0 or inf"),
        (kinds.yes_no, "maybe", "yes or no (true, false, on, off, 1, 0)"),
        (kinds.yes_no, 2, "yes or no (true, false, on, off, 1, 0)"),
        (kinds.text, "  ", "text"),
        (kinds.choice("a", "b"), "c", "one of a, b"),
        (kinds.kib, "200B", "a size in KiB (>= 1), or with a unit: 200MB, 1GiB"),
        (kinds.kib, "0", "a size in KiB (>= 1), or with a unit: 200MB, 1GiB"),
        (kinds.kib, "1.5", "a size in KiB (>= 1), or with a unit: 200MB, 1GiB"),
        (kinds.names, "a,,b", "names with commas between them"),
        (kinds.autoscale, "1,2,3", "MAX,MIN or MAX: whole numbers >= 1"),
        (kinds.autoscale, "0", "MAX,MIN or MAX: whole numbers >= 1"),
        (kinds.url, "localhost", "a URL with a scheme, such as sqlite:///kernel.db or amqp://localhost"),
        (kinds.url, "", "a URL with a scheme, such as sqlite:///kernel.db or amqp://localhost"),
        (kinds.rate, "10/d", "a rate > 0: 10 or 10/s, 10/m, 10/h"),
        (kinds.rate, "0", "a rate > 0: 10 or 10/s, 10/m, 10/h"),
        (kinds.mapping, "[1]", 'a table, or a JSON object such as {"key": 1}'),
        (kinds.node_name, "a b", "a name without blanks, such as w1@%h"),
        (kinds.optional(kinds.whole(1)), "0", "a whole number >= 1, or none"),
        (PARSERS["either"], "some", "a whole number >= 1, or auto"),
    ],
)
def test_what_is_not_is_answered_with_what_was_expected(parse: Parser, raw: object, phrase: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(raw)
    assert str(caught.value) == phrase


def test_a_prefetch_multiplier_without_limit_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="would hold messages that other workers could run"):
        kinds.multiplier(0)


@given(st.integers(min_value=1, max_value=2**40))
def test_a_size_in_kib_with_a_unit_is_the_number_without(size: int) -> None:
    assert kinds.kib(f"{size}KiB") == kinds.kib(size) == size


@given(st.integers(min_value=1, max_value=2**30))
def test_a_size_is_never_rounded_below_what_was_asked(megabytes: int) -> None:
    kib = kinds.kib(f"{megabytes}MB")
    assert kib * 1024 >= megabytes * 10**6
    assert (kib - 1) * 1024 < megabytes * 10**6
