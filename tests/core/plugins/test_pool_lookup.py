"""The pool that ``-P`` means is found, or its absence is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker_kernel import (
    Capabilities,
    PluginBroken,
    PluginConflict,
    PluginIncompatible,
    PluginNotFound,
)

if TYPE_CHECKING:
    from ..conftest import Site


def test_an_unknown_pool_gets_did_you_mean_and_what_is_installed(importable: Site) -> None:
    importable.pool("threads")
    with pytest.raises(PluginNotFound) as caught:
        importable.load().pool("threds")
    assert str(caught.value).splitlines() == [
        "no pool named 'threds' is installed; did you mean 'threads'?",
        "pools installed: threads",
    ]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["prefork", "processes"])
def test_a_pool_of_ours_that_is_not_installed_says_what_to_install(importable: Site, name: str) -> None:
    with pytest.raises(PluginNotFound, match="install it: pip install worker-pool-prefork"):
        importable.load().pool(name)


def test_processes_means_prefork(importable: Site) -> None:
    importable.pool("prefork")
    assert importable.load().pool("processes").name == "prefork"


def test_a_chosen_pool_that_is_broken_says_why_and_chains_the_cause(importable: Site) -> None:
    importable.pool("acme", source="raise RuntimeError('boom')")
    with pytest.raises(PluginBroken) as caught:
        importable.load().pool("acme")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert (caught.value.plugin, caught.value.dist, caught.value.version) == ("acme", "acme", "1.0")
    assert "pool acme (acme 1.0) cannot be used: broken: RuntimeError: boom" in str(caught.value)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 5


def test_a_chosen_pool_whose_library_is_not_installed_cannot_be_used(importable: Site) -> None:
    importable.pool("acme", requires=("no-such-library",))
    with pytest.raises(PluginBroken, match="unavailable: no-such-library: not installed\npip install no-such-library"):
        importable.load().pool("acme")


def test_a_chosen_pool_for_another_kernel_is_incompatible(importable: Site) -> None:
    importable.pool("acme", requires=("worker-kernel>=99",))
    with pytest.raises(PluginIncompatible, match="needs >=99"):
        importable.load().pool("acme")


def test_a_chosen_pool_that_two_distributions_claim_is_a_conflict_until_one_is_picked(importable: Site) -> None:
    importable.pool("acme", "acme-one")
    importable.pool("acme", "acme-two")
    with pytest.raises(PluginConflict) as caught:
        importable.load().pool("acme")
    assert "acme-one 1.0" in str(caught.value)
    assert "acme-two 1.0" in str(caught.value)
    assert "KERNEL_PLUGINS=+acme-one:acme" in str(caught.value)
    picked = importable.load("+acme-two:acme")
    assert picked.pool("acme").cls == picked.pool("acme-two:acme").cls == "acme_two_module_heavy:Pool"


def test_a_chosen_pool_that_is_disabled_is_not_found_and_says_by_what(importable: Site) -> None:
    importable.pool("acme")
    with pytest.raises(PluginNotFound, match="disabled: by KERNEL_PLUGINS=-acme"):
        importable.load("-acme").pool("acme")


def test_a_pool_can_be_named_by_its_class(importable: Site) -> None:
    importable.module(
        "own.pool",
        """
    from worker_kernel import Capabilities, Pool
    class Mine(Pool):
        capabilities = Capabilities()
    class Bare(Pool): ...
    other = 3
    """,
    )
    plugins = importable.load()
    assert plugins.pool("own.pool:Mine").cls == "own.pool:Mine"
    assert plugins.pool("own.pool:Mine").capabilities == Capabilities()
    with pytest.raises(PluginBroken, match="not a subclass"):
        plugins.pool("own.pool:other")
    with pytest.raises(PluginBroken, match="'capabilities' is not a Capabilities record"):
        plugins.pool("own.pool:Bare")
    with pytest.raises(PluginBroken, match="cannot be imported: AttributeError"):
        plugins.pool("own.pool:NoSuch")
    with pytest.raises(PluginNotFound, match=r"No module named 'own\.no_such'"):
        plugins.pool("own.no_such:Pool")
