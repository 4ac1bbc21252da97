"""The conformance kit for pools: one class to subclass."""

from __future__ import annotations

import pytest

_PARTS = (
    "contract_jobs",
    "contract_slots",
    "contract_cancel",
    "contract_ending",
    "contract_limits",
    "contract_isolation",
    "contract_model",
)
pytest.register_assert_rewrite(*(f"{__package__}.{part}" for part in _PARTS))  # before they are imported

from .bench import load_pool  # noqa: E402
from .contract_cancel import CancelPromises  # noqa: E402
from .contract_ending import EndingPromises  # noqa: E402
from .contract_isolation import IsolationPromises  # noqa: E402
from .contract_jobs import JobPromises  # noqa: E402
from .contract_limits import LimitPromises  # noqa: E402
from .contract_model import ModelPromises  # noqa: E402
from .contract_slots import SlotPromises  # noqa: E402
from .overriding import overridden  # noqa: E402


class PoolContract(
    JobPromises, SlotPromises, CancelPromises, EndingPromises, LimitPromises, IsolationPromises, ModelPromises
):
    """Every promise of the pool contract, as tests for pytest.

    ::

        class TestMyPool(PoolContract):
            pool_path = "my_package.pool:MyPool"
            capabilities = MyPool.capabilities

    Nothing is skipped: what the capabilities do not declare is tested inverted, that is, the pool must refuse it.
    The limits tables are tested with code that is really stuck; what leaves a thread behind or ends the process is run
    in a child process. The contract wants the main thread for pools that declare ``runs_in_main_thread``.

    Pools that declare ``runs_elsewhere`` are handed the kit's application (`fake_application`), from which their
    processes make twins of the jobs; those tell the test's process what happens to them. Two things are left to the
    tests of such a pool itself: that the hooks of slots and children are called there, and in which thread.
    """

    def test_nothing_is_overridden(self) -> None:
        """A promise is not made easier: a known deviation is an override marked ``xfail(reason=...)``."""
        assert not (changed := overridden(type(self), PoolContract)), changed

    def test_the_capabilities_are_the_pool_s_own(self) -> None:
        """What is tested is what the class declares, and so what options are negotiated by."""
        assert load_pool(self.pool_path).capabilities == self.capabilities
