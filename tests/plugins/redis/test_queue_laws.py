"""The laws of a queue, whatever its users do: nothing lost, nothing in two hands, the right order, honest counts."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from worker_broker_redis.address import Address
from worker_broker_redis.connections import pool
from worker_broker_redis.link import Link
from worker_broker_redis.queues import Delivery, Keys, Move, Queues

LISTS = [("q", "q"), ("q", "q\x06\x163")]
OWNERS = st.integers(0, 1)
CHOICE = st.integers(0, 1000)


@attrs.define(eq=False)
class Message:
    """What we think of one message."""

    number: int
    list: str
    attempts: int = 0
    """Starts that were not settled, the present one included."""


@attrs.define(eq=False)
class Holding:
    """What we think of one delivery; its consumer remembers it also when it is lost."""

    delivery: Delivery
    message: Message
    ours: bool = True


class QueueLaws(RuleBasedStateMachine):
    def __init__(self, server: Any, url: str) -> None:
        super().__init__()
        server.flushdb()
        self.server = server
        self.pool = pool(Address.from_url(url))
        self.link = Link(self.pool)
        self.owners = [Queues(Keys(""), lease=1000.0, visibility_timeout=3600.0) for _ in range(2)]
        self.holdings: list[list[Holding]] = [[], []]
        self.alive = [False, False]
        self.lists: dict[str, list[Message]] = {key: [] for _, key in LISTS}  # the last one is taken next
        self.parked: list[Message] = []  # by the time they are due
        self.sent = self.parkings = 0

    def teardown(self) -> None:
        self.link.close()
        self.pool.disconnect()

    def pick(self, owner: int, choice: int) -> Holding | None:
        mine = self.holdings[owner]
        return mine.pop(choice % len(mine)) if mine else None

    @rule(key=st.sampled_from([key for _, key in LISTS]))
    def put(self, key: str) -> None:
        self.sent += 1
        self.lists[key].insert(0, Message(number=self.sent, list=key))
        self.server.lpush(key, json.dumps({"n": self.sent, "properties": {"delivery_tag": f"t{self.sent}"}}))

    @rule(owner=OWNERS, limit=st.integers(1, 3))
    def fetch(self, owner: int, limit: int) -> None:
        batch = self.owners[owner].fetch(self.link, LISTS, width=1, limit=limit)
        queue = [message for _, key in LISTS for message in reversed(self.lists[key])]
        expected = queue[:limit]
        assert [json.loads(delivery.raw)["n"] for delivery in batch.deliveries] == [one.number for one in expected]
        assert [delivery.attempts for delivery in batch.deliveries] == [one.attempts for one in expected]
        assert batch.waiting == len(queue) - len(expected)
        for message, delivery in zip(expected, batch.deliveries, strict=True):
            self.lists[message.list].remove(message)
            self.holdings[owner].append(Holding(delivery=delivery, message=message))
        if expected:
            self.alive[owner] = True

    @rule(owner=OWNERS, choice=CHOICE)
    def settle(self, owner: int, choice: int) -> None:
        if one := self.pick(owner, choice):
            assert self.owners[owner].settle(self.link, [one.delivery.tag]) == self.late(one)

    @rule(owner=OWNERS, choice=CHOICE)
    def hand_back(self, owner: int, choice: int) -> None:
        if one := self.pick(owner, choice):
            assert self.move(owner, one, "back", "next") == self.late(one)
            if one.ours:
                self.lists[one.message.list].append(one.message)

    @rule(owner=OWNERS, choice=CHOICE)
    def park(self, owner: int, choice: int) -> None:
        if one := self.pick(owner, choice):
            self.parkings += 1
            assert self.move(owner, one, "back", 1000.0 * self.parkings) == self.late(one)
            if one.ours:
                self.parked.append(one.message)

    @rule()
    def what_is_parked_becomes_due(self) -> None:
        members = self.server.zrange("wk:1:delayed", 0, -1)
        assert len(members) == len(self.parked)
        if members:
            self.server.zadd("wk:1:delayed", {member: place for place, member in enumerate(members)})
        for message in reversed(self.parked):
            self.lists[message.list].append(message)
        self.parked.clear()
        # It is in its list as soon as anybody looks.
        self.owners[0].fetch(self.link, [("empty", "empty")], width=1, limit=1)

    @rule(owner=OWNERS)
    def lease_runs_out(self, owner: int) -> None:
        self.server.delete(f"wk:1:owner:{self.owners[owner].nonce}")
        self.alive[owner] = False

    @rule(owner=OWNERS)
    def renew(self, owner: int) -> None:
        still = self.owners[owner].renew(self.link)
        assert still == {one.delivery.tag for one in self.holdings[owner] if one.ours}
        self.alive[owner] = True

    @rule()
    def restore(self) -> None:
        abandoned = self.owners[0].survey(self.link)
        lost = [one for owner in (0, 1) if not self.alive[owner] for one in self.holdings[owner] if one.ours]
        assert {one.tag for one in abandoned} == {one.delivery.tag for one in lost}
        moves = []
        for one in lost:
            tag, place = one.delivery.tag, one.message.list
            (owner,) = (found.owner for found in abandoned if found.tag == tag)
            moves.append(Move(owner=owner, tag=tag, attempts="keep", list=place, raw=one.delivery.raw))
            one.ours = False
            one.message.attempts += 1
            self.lists[place].append(one.message)
        if moves:
            assert self.owners[0].move(self.link, moves) == frozenset()

    def move(self, owner: int, one: Holding, attempts: str, where: str | float) -> frozenset[str]:
        delivery = one.delivery
        nonce = self.owners[owner].nonce
        move = Move(owner=nonce, tag=delivery.tag, attempts=attempts, list=delivery.list, raw=delivery.raw, where=where)
        return self.owners[owner].move(self.link, [move])

    def late(self, one: Holding) -> frozenset[str]:
        return frozenset() if one.ours else frozenset({one.delivery.tag})

    @invariant()
    def each_message_is_where_it_should_be(self) -> None:
        for key, messages in self.lists.items():
            found = [json.loads(raw)["n"] for raw in self.server.lrange(key, 0, -1)]
            assert found == [message.number for message in messages]
        held = {one.delivery.tag: one.message.number for mine in self.holdings for one in mine if one.ours}
        records = {tag.decode(): json.loads(record)[0]["n"] for tag, record in self.server.hgetall("unacked").items()}
        assert records == held
        assert {tag.decode() for tag in self.server.zrange("unacked_index", 0, -1)} == set(held)
        assert self.server.zcard("wk:1:delayed") == len(self.parked)

    @invariant()
    def starts_that_came_to_nothing_are_counted(self) -> None:
        held = [one.message for mine in self.holdings for one in mine if one.ours]
        everywhere = [*held, *self.parked, *(message for messages in self.lists.values() for message in messages)]
        expected = {f"q\x06\x16t{message.number}": message.attempts for message in everywhere if message.attempts}
        found = {field.decode(): int(count) for field, count in self.server.hgetall("wk:1:attempts").items()}
        assert found == expected


def test_the_laws_of_a_queue(server: Any, plain: str) -> None:
    class OnThisServer(QueueLaws):
        def __init__(self) -> None:
            super().__init__(server, plain)

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
