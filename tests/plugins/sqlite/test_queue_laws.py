"""The laws of a queue, whatever its users do: nothing lost, nothing in two hands, the right order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from worker_broker_sqlite.database import Database
from worker_broker_sqlite.queues import Counts, Delivery, Queues

LEASE = 30.0


@attrs.define(eq=False)
class Model:
    """What we think of one message."""

    body: str
    priority: int
    number: int
    due: float
    attempts: int = 0
    redelivered: bool = False
    token: str | None = None
    lease: float = 0.0


class QueueLaws(RuleBasedStateMachine):
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.database = Database(str(Path(self.directory.name) / "jobs.db"))
        self.queues = Queues(self.database, lease=LEASE, now=lambda: self.now)
        self.models: list[Model] = []
        self.sent = 0

    def teardown(self) -> None:
        self.database.close()
        self.directory.cleanup()

    def ready(self) -> list[Model]:
        found = [m for m in self.models if (m.lease <= self.now if m.token else m.due <= self.now)]
        return sorted(found, key=lambda model: (-model.priority, model.number))

    def holder(self, delivery: Delivery) -> Model | None:
        return next((model for model in self.models if model.token == delivery.tag), None)

    @rule(priority=st.integers(0, 9), delay=st.sampled_from([0.0, 0.0, 5.0, 50.0]))
    def put(self, priority: int, delay: float) -> None:
        self.sent += 1
        model = Model(body=f"m{self.sent}", priority=priority, number=self.sent, due=self.now + delay)
        self.models.append(model)
        self.queues.put("q", "{}", model.body, priority=priority, due=model.due)

    @rule(target=held, limit=st.integers(1, 4))
    def fetch(self, limit: int) -> Any:
        wanted = self.ready()[:limit]
        for model in self.ready():  # a look at the queue takes lapsed messages out of dead hands, wanted or not
            if model.token:
                model.token, model.redelivered = None, True
        batch = self.queues.fetch(["q"], limit)
        assert [d.body for d in batch.deliveries] == [model.body for model in wanted]
        assert batch.more == (len(wanted) == limit)
        for model, delivery in zip(wanted, batch.deliveries, strict=True):
            assert (delivery.attempts, delivery.redelivered) == (model.attempts, model.redelivered)
            model.token, model.lease, model.attempts = delivery.tag, self.now + LEASE, model.attempts + 1
        return multiple(*batch.deliveries)

    @rule(delivery=consumes(held))
    def settle(self, delivery: Delivery) -> None:
        model = self.holder(delivery)
        assert self.queues.settle([delivery.tag]) == (frozenset() if model else {delivery.tag})
        if model:
            self.models.remove(model)

    @rule(delivery=held)
    def hand_back(self, delivery: Delivery) -> None:
        model = self.holder(delivery)
        assert self.queues.hand_back([delivery.tag]) == (frozenset() if model else {delivery.tag})
        self.give_up(model, self.now)

    @rule(delivery=held, seconds=st.sampled_from([0.0, 5.0, 100.0]))
    def park(self, delivery: Delivery, seconds: float) -> None:
        model = self.holder(delivery)
        assert self.queues.park(delivery.tag, seconds) == bool(model)
        self.give_up(model, self.now + seconds)

    def give_up(self, model: Model | None, due: float) -> None:
        if model:
            model.token, model.due, model.redelivered, model.attempts = None, due, True, model.attempts - 1

    @rule(delivery=held)
    def renew(self, delivery: Delivery) -> None:
        model = self.holder(delivery)
        assert self.queues.renew([delivery.tag]) == (frozenset() if model else {delivery.tag})
        if model:
            model.lease = self.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 10.0, LEASE, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        held = sum(1 for m in self.models if m.token and m.lease > self.now)
        ready = len(self.ready())
        expected = Counts(ready=ready, waiting=len(self.models) - held - ready, held=held)
        assert self.queues.counts("q") == expected

    @invariant()
    def the_next_moment_is_known(self) -> None:
        moments = [m.lease if m.token else m.due for m in self.models]
        coming = [moment for moment in moments if moment > self.now]
        found = self.queues.next_due(["q"])
        if len(coming) == len(moments):  # nothing is ready
            assert found == min(coming, default=None)


QueueLaws.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueLaws = QueueLaws.TestCase
