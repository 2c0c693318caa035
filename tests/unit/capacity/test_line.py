"""Choosing between replicas, and replicas that run steps."""

from __future__ import annotations

from random import Random

from assay.capacity.events import Events
from assay.capacity.line import Call, LeastOpen, StepReplica


def test_the_least_loaded_replica_comes_next_whatever_happened() -> None:
    draw, chooser, events = Random(3), LeastOpen(Random(4)), Events()
    naive: dict[StepReplica, int] = {}
    for _ in range(5000):
        action = draw.random()
        if action < 0.05 or not naive:
            replica = StepReplica(events, 1, lambda call, ok: None)
            chooser.add(replica)
            naive[replica] = 0
        elif action < 0.08:
            gone = draw.choice(list(naive))
            chooser.remove(gone)
            del naive[gone]
            chooser.ended(gone)  # a call of a replica that is gone changes nothing
        elif action < 0.6:
            least = chooser.least()
            assert least is not None
            assert naive[least] == min(naive.values())
            chooser.sent(least)
            naive[least] += 1
        elif held := [each for each, count in naive.items() if count]:
            ended = draw.choice(held)
            chooser.ended(ended)
            naive[ended] -= 1
    assert len(chooser) == len(naive)


def test_a_call_that_waits_past_its_deadline_is_told_so_and_makes_way() -> None:
    events, ended = Events(), []
    replica = StepReplica(events, 1, lambda call, ok: ended.append((events.now, call.work, ok)))
    for work, deadline in ((10.0, 1e18), (1.0, 4.0), (2.0, 1e18), (5.0, 14.0)):
        replica.take(Call(0.0, work, deadline, 0))
    events.run(100.0)
    # The second gives up at 4, the third runs from 10 to 12, the fourth is cut at its deadline.
    assert ended == [(4.0, 1.0, False), (10.0, 10.0, True), (12.0, 2.0, True), (14.0, 5.0, False)]
    assert replica.open == 0
    assert replica.busy_s == 14.0
