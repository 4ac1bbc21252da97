"""What a child is told before anything else arrives as it was sent."""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import BootRecord, PluginIncompatible
from worker_pool_prefork.launch.executed import boot_frame, read_orders
from worker_pool_prefork.orders import Orders

SECONDS = st.none() | st.floats(0, 1e6)
BOOTS = st.builds(
    BootRecord,
    origin=st.text(max_size=10),
    settings=st.dictionaries(
        st.text(max_size=5), st.tuples(st.none() | st.integers() | st.text(max_size=5), st.integers(1, 4), st.text())
    ),
    plugins=st.lists(st.text(max_size=5)).map(tuple),
    include=st.lists(st.text(max_size=5)).map(tuple),
    path=st.lists(st.text(max_size=5)).map(tuple),
    directory=st.text(max_size=5),
    join_blocks=st.booleans(),
)
ORDERS = st.builds(
    Orders,
    index=st.integers(0, 100),
    slots=st.lists(st.integers(0, 100), min_size=1, max_size=4).map(tuple),
    title=st.text(max_size=10),
    parent=st.integers(1, 1 << 22),
    boot=st.none() | BOOTS,
    inner=st.text(max_size=10),
    soft_time_limit=SECONDS,
    time_limit=SECONDS,
    limit_grace=st.floats(0, 10),
    zombie_budget=st.integers(0, 10),
    max_tasks_per_child=st.none() | st.integers(1, 100),
    options=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5)),
)


@given(orders=ORDERS)
def test_orders_arrive_as_they_were_sent(orders: Orders) -> None:
    assert Orders.from_bytes(orders.to_bytes()) == orders


def test_a_child_reads_its_orders_and_not_a_byte_more() -> None:
    orders = Orders(index=1, slots=(1,), title="me@here", parent=7, boot=BootRecord(origin="proj:app"))
    reading, writing = os.pipe()
    try:
        os.write(writing, boot_frame(orders) + b"what comes next")
        assert read_orders(reading) == orders
        assert os.read(reading, 100) == b"what comes next"
        os.write(writing, boot_frame(orders)[:-1])
        os.close(writing)
        with pytest.raises(EOFError, match="the worker is gone"):
            read_orders(reading)
    finally:
        os.close(reading)


def test_orders_of_another_contract_are_refused() -> None:
    boot = attrs.evolve(BootRecord(origin="proj:app"), contract=99)
    orders = Orders(index=0, slots=(0,), title="", parent=1, boot=boot)
    with pytest.raises(PluginIncompatible, match="99"):
        Orders.from_bytes(orders.to_bytes())
