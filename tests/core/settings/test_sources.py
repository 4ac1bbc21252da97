"""Five places, the closer one wins, and everything that is wrong is told at once with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import kinds
from worker_kernel.errors import SettingsError
from worker_kernel.settings import Layer, Setting
from worker_kernel.sources import read_settings

COUNT = Setting(name="acme_count", parse=kinds.whole(0), kind="whole number >= 0", default=3, options=("-k",))
NAME = Setting(name="acme_name", parse=kinds.optional(kinds.text), kind="text")
URL = Setting(name="acme_url", parse=kinds.optional(kinds.url), kind="URL", secret=True)
DECLARED = (COUNT, NAME, URL)


def test_without_anything_given_each_setting_has_its_default(tmp_path: Path) -> None:
    settings, warnings = read_settings(DECLARED, environ={}, directory=tmp_path)
    assert (settings["acme_count"], settings["acme_name"], warnings) == (3, None, ())
    assert not settings.given("acme_count")
    assert str(settings.source("acme_count")) == "default"


@given(places=st.sets(st.sampled_from(list(Layer)[1:]), min_size=1))
def test_the_place_closest_to_the_user_wins(tmp_path_factory: pytest.TempPathFactory, places: set[Layer]) -> None:
    directory = tmp_path_factory.mktemp("place")
    if Layer.FILE in places:
        (directory / "kernel.toml").write_text(f"\nacme_count = {Layer.FILE:d}\n")
    settings, _ = read_settings(
        DECLARED,
        app={"acme_count": int(Layer.APP)} if Layer.APP in places else {},
        app_name="proj",
        environ={"KERNEL_ACME_COUNT": f"{Layer.ENVIRONMENT:d}"} if Layer.ENVIRONMENT in places else {},
        command_line={"acme_count": ("-k", f"{Layer.COMMAND_LINE:d}")} if Layer.COMMAND_LINE in places else {},
        directory=directory,
    )
    closest = max(places)
    assert settings["acme_count"] == closest
    assert settings.source("acme_count").layer is closest
    assert (
        str(settings.source("acme_count"))
        == {
            Layer.APP: "App('proj')",
            Layer.FILE: "kernel.toml:2",
            Layer.ENVIRONMENT: "KERNEL_ACME_COUNT",
            Layer.COMMAND_LINE: "-k",
        }[closest]
    )


@pytest.mark.parametrize("value", ["0", "3"])
def test_an_explicit_zero_and_an_explicit_default_count_as_given(tmp_path: Path, value: str) -> None:
    settings, _ = read_settings(
        DECLARED, app={"acme_count": 9}, environ={"KERNEL_ACME_COUNT": value}, directory=tmp_path
    )
    assert settings["acme_count"] == int(value)
    assert settings.given("acme_count")


def test_all_problems_of_all_places_are_told_at_once_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text("acme_cuont = 1\nacme_count = -1\n")
    url = "a URL with a scheme, such as sqlite:///kernel.db or amqp://localhost"
    with pytest.raises(SettingsError) as caught:
        read_settings(
            DECLARED,
            app={"acme_name": 7},
            app_name="proj",
            environ={"KERNEL_ACME_URL": "nowhere"},
            command_line={"acme_count": ("-k", "many")},
            directory=tmp_path,
        )
    assert caught.value.problems == (
        "acme_name (App('proj')): expected text, or none, got 7",
        "acme_count (kernel.toml:2): expected a whole number >= 0, got -1",
        "unknown setting acme_cuont (kernel.toml:1); did you mean acme_count?",
        f"acme_url (KERNEL_ACME_URL): expected {url}, or none, got 'nowhere'",
        "acme_count (-k): expected a whole number >= 0, got 'many'",
    )


def test_a_wrong_value_that_is_secret_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(DECLARED, app={"acme_url": ["redis://u:geheim@h", 3]}, environ={}, directory=tmp_path)
    assert "geheim" not in str(caught.value)


def test_a_broken_file_is_a_problem_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text("= 1\n")
    with pytest.raises(SettingsError) as caught:
        read_settings(DECLARED, app={"acme_never": 1}, environ={}, directory=tmp_path)
    assert len(caught.value.problems) == 2


def test_unknown_variables_are_one_warning_for_all(tmp_path: Path) -> None:
    _, warnings = read_settings(
        DECLARED, environ={"KERNEL_ZZZ": "1", "KERNEL_AAA": "1", "OTHER": "1"}, directory=tmp_path
    )
    assert warnings == ("no setting has these variables: KERNEL_AAA, KERNEL_ZZZ",)


def test_what_kubernetes_gives_for_a_service_named_kernel_is_ignored(tmp_path: Path) -> None:
    injected = [
        "KERNEL_PORT",
        "KERNEL_SERVICE_HOST",
        "KERNEL_SERVICE_PORT",
        "KERNEL_SERVICE_PORT_HTTP",
        "KERNEL_PORT_80_TCP",
        "KERNEL_PORT_80_TCP_ADDR",
        "KERNEL_PORT_80_TCP_PORT",
        "KERNEL_PORT_80_TCP_PROTO",
    ]
    known = ["KERNEL_PLUGINS", "KERNEL_APP"]
    _, warnings = read_settings(DECLARED, environ=dict.fromkeys([*injected, *known], "x"), directory=tmp_path)
    assert warnings == ()


def test_the_choice_of_plugins_in_the_file_is_no_unknown_setting(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text('plugins = ["-acme"]\n')
    settings, _ = read_settings(DECLARED, environ={}, directory=tmp_path)
    assert "plugins" not in settings


def test_how_a_setting_was_given_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "kernel.toml").write_text('acme_name = "x"\n')
    settings, _ = read_settings(DECLARED, environ={}, command_line={"acme_count": ("-k", "4")}, directory=tmp_path)
    assert settings.spelled("acme_count") == "-k 4"
    assert settings.spelled("acme_name") == "acme_name = x (kernel.toml:1)"


def test_dropping_a_setting_gives_its_default_back_and_counts_as_not_given(tmp_path: Path) -> None:
    settings, _ = read_settings(DECLARED, environ={"KERNEL_ACME_COUNT": "9"}, directory=tmp_path)
    dropped = settings.dropping("acme_count", "because")
    assert (dropped["acme_count"], dropped.given("acme_count"), str(dropped.source("acme_count"))) == (
        3,
        False,
        "because",
    )
    assert settings["acme_count"] == 9
