"""An error is at most five lines and an exit code."""

from __future__ import annotations

import errno

import click
import pytest

from worker_kernel.cli.report import ABORTED, LINES, exit_code, message, report
from worker_kernel.errors import (
    AppNotLoaded,
    BrokerUnavailable,
    KernelError,
    MissingRequirement,
    OptionNeedsStep,
    OptionRefused,
    PluginBroken,
    PluginConflict,
    PluginIncompatible,
    PluginNotFound,
    SettingsError,
    StepCycle,
    StepFailed,
    StoreUnavailable,
    StoreUnknown,
    UsageError,
)

EVERY = [
    (KernelError("x"), 1),
    (UsageError("x"), 2),
    (SettingsError(["x"]), 2),
    (OptionRefused("-c 3", "solo", "no", ["threads"]), 2),
    (PluginNotFound("x"), 2),
    (PluginBroken("x"), 3),
    (PluginIncompatible("x"), 3),
    (PluginConflict("x"), 3),
    (StepCycle(["a", "b", "a"], ["a after b, asked by x"] * 9), 3),
    (MissingRequirement("a", "b", "x", None), 3),
    (OptionNeedsStep("--autoscale 2,1", "autoscaler", "worker-autoscale"), 3),
    (StepFailed("a", "x", "start", ValueError("boom")), 1),
    (AppNotLoaded("x"), 4),
    (BrokerUnavailable("x"), 5),
    (StoreUnavailable("x"), 5),
    (StoreUnknown("x"), 2),
    (click.UsageError("x"), 2),
    (click.Abort(), ABORTED),
    (KeyboardInterrupt(), ABORTED),
    (ValueError("boom"), 1),
]


@pytest.mark.parametrize(("error", "code"), EVERY, ids=lambda value: type(value).__name__)
def test_every_error_has_its_exit_code_and_few_lines(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(error) == code
    assert report(error, with_traceback=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= LINES
    assert "Traceback" not in err


def test_many_problems_are_counted_not_listed() -> None:
    lines = message(SettingsError([f"problem {number}" for number in range(9)]))
    assert lines == ["error: problem 0", "  problem 1", "  problem 2", "  problem 3", "  ... and 5 more"]


def test_notes_are_told_as_well() -> None:
    error = UsageError("what\nwhat to do")
    error.add_note("in hook kernel_pools of plugin x (x 1.0)\nmore")
    assert message(error) == ["error: what", "  what to do", "  in hook kernel_pools of plugin x (x 1.0)"]


def test_an_unexpected_error_says_that_it_is_one() -> None:
    assert message(ValueError("a\nb"))[0] == "error: unexpected ValueError: a b"
    assert "--traceback" in message(ValueError("x"))[1]


def test_with_traceback_the_cause_is_printed_first(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise ValueError("inner")
        except ValueError as exc:
            raise AppNotLoaded("outer") from exc
    except AppNotLoaded as exc:
        report(exc, with_traceback=True)
    err = capsys.readouterr().err
    assert err.index("ValueError: inner") < err.index("AppNotLoaded: outer") < err.index("error: outer")


def test_a_reader_who_has_left_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(BrokenPipeError(errno.EPIPE, "gone"), with_traceback=False) == 1
    assert capsys.readouterr().err == ""


def test_an_exit_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(click.exceptions.Exit(7), with_traceback=False) == 7
    assert capsys.readouterr().err == ""
