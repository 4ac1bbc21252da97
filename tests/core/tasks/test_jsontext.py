"""JSON that others wrote is read as the standard library and kombu read it, with msgspec and without."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from worker_kernel import read_json
from worker_kernel.tasks import jsontext

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.fixture(params=["as installed", "without msgspec"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read."""
    if request.param == "without msgspec":
        monkeypatch.setattr(jsontext, "_in_c", None)


@given(value=PLAIN, ascii_only=st.booleans())
def test_what_is_read_is_what_the_standard_library_reads(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert repr(read_json(text)) == repr(json.loads(text))
    if ascii_only:
        assert repr(read_json(text.encode())) == repr(json.loads(text))


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "text", ["[NaN, -Infinity]", '["\\ud800"]', "[1e400]", '{"a": 1, "a": 2}', f"[{2**200}]", "[-0, -0.0, 5e-324]"]
)
def test_what_one_reader_refuses_and_python_takes_is_taken(text: str) -> None:
    assert repr(read_json(text)) == repr(json.loads(text)) == repr(read_json(text.encode()))


@pytest.mark.usefixtures("reader")
def test_tagged_objects_become_what_they_stand_for() -> None:
    text = kombu_json.dumps({"raw": b"\xff", "plain": 1})
    assert read_json(text) == read_json(text.encode()) == {"raw": b"\xff", "plain": 1}


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("text", [b"", b"\xff", b"[1] x", b"[", '"\x00"'])
def test_what_is_no_json_is_a_value_error(text: bytes | str) -> None:
    with pytest.raises(ValueError):
        read_json(text)


@pytest.mark.usefixtures("reader")
def test_what_is_nested_too_deeply_says_so() -> None:
    with pytest.raises(RecursionError):
        read_json(b"[" * 100_000)
