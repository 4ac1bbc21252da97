"""No password is ever shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_kernel.masking import masked

PASSWORD = st.text(alphabet="abcXYZ019!$%&*+,.@:~", min_size=6)


@given(st.text(alphabet="abc", max_size=5), PASSWORD)
def test_the_password_of_a_url_is_masked(user: str, password: str) -> None:
    assert masked(f"redis://{user}:{password}@host:6379/0") == f"redis://{user}:**@host:6379/0"


@given(PASSWORD, PASSWORD)
def test_each_of_several_urls_is_masked(first: str, second: str) -> None:
    assert masked(f"amqp://u:{first}@a;amqp://u:{second}@b") == "amqp://u:**@a;amqp://u:**@b"


def test_a_url_without_a_password_stays_as_it_is() -> None:
    for url in (
        "sqlite:///kernel.db",
        "redis://localhost:6379/0?hub=0",
        "amqp://user@host//",
        "redis://h/?keyprefix=a",
    ):
        assert masked(url) == url


def test_parameters_that_are_called_like_a_secret_are_masked() -> None:
    assert (
        masked("sqs://h/?region=eu&password=geheim&secret_key=x;y") == "sqs://h/?region=eu&password=**&secret_key=**;y"
    )


def test_tables_are_masked_at_any_depth() -> None:
    options = {"sentinel_kwargs": {"password": "geheim"}, "hosts": ["redis://u:p@h"], "port": 1, "token": None}
    assert masked(options) == {
        "sentinel_kwargs": {"password": "**"},
        "hosts": ["redis://u:**@h"],
        "port": 1,
        "token": None,
    }
