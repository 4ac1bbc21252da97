"""What tests wait for, and what they cannot do without."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Look at the thing itself until it is so, and return what was seen; the limit is for a loaded machine."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:.0f} s in vain for: {what}")
        time.sleep(0.01)
    return found


def missing(what: str) -> NoReturn:
    """Skip a test for what is not there, or fail it where that was promised."""
    if os.environ.get("WK_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}, and it was promised (WK_TEST_REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(what)
