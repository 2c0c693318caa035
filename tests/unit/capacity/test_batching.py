"""Replicas that answer many calls together, on paper and simulated."""

from __future__ import annotations

import math
from random import Random

import pytest

from assay.capacity.batching import Batch, batch_wait, replicas_for
from assay.capacity.events import Events
from assay.capacity.line import BatchReplica, Call
from assay.capacity.times import times_of
from assay.errors import InvalidInput

BATCH = Batch(turn_s=0.010, sequence_s=0.001, prompt_token_s=0.0, most=8)


def test_sharing_costs_each_and_gains_all() -> None:
    # Alone a turn takes 11 ms; with eight 18 ms: each is 1.64 times as slow, together they are 4.9 times as fast.
    assert BATCH.turns_per_s(1, 1, 100) == pytest.approx(1 / 0.011)
    assert BATCH.answers_per_s(8, 1, 100) == pytest.approx(8 / 1.8)
    assert BATCH.alone_s(1, 100) == pytest.approx(1.1)


def test_a_prompt_costs_the_loop_its_reading() -> None:
    # 500 tokens at 0.2 ms: 100 ms more for a call alone.
    reading = Batch(0.010, 0.001, 0.0002, 8)
    assert reading.alone_s(500, 100) == pytest.approx(1.2)


def test_what_cannot_be_kept_up_with_waits_for_ever() -> None:
    found = batch_wait(BATCH, 2, 9.0, 1, 100, percentile=0.99)  # 2 x 4.44 a second at most
    assert (found.answer_s, found.utilisation) == (math.inf, 1.0)


def test_replicas_hold_their_wait_and_their_pace() -> None:
    asked = {"wait_s": 0.5, "percentile": 0.99, "utilisation": 0.8}
    slow = replicas_for(BATCH, 20.0, 1, 100, **asked)
    assert slow == 6  # 20 / (0.8 * 4.44) = 5.6
    # 13 ms a token allow three at once, 2.31 answers a second of a replica.
    fast = replicas_for(BATCH, 20.0, 1, 100, **asked, token_s=0.013)
    assert batch_wait(BATCH, fast, 20.0, 1, 100, percentile=0.99).answer_s <= 1.3
    assert batch_wait(BATCH, fast - 1, 20.0, 1, 100, percentile=0.99).answer_s > 1.3
    with pytest.raises(InvalidInput, match="token_s: one call alone takes as long"):
        replicas_for(BATCH, 20.0, 1, 100, **asked, token_s=0.010)


@pytest.mark.parametrize("scv", [0.0, 1.0])
def test_a_simulated_replica_holds_and_answers_as_the_formula_says(scv: float) -> None:
    # One replica at 70 %: with exponential lengths a birth-death line; with places for nearly all, any lengths do.
    batch, rate = Batch(0.010, 0.001, 0.0, 24), 0.7 * 24 / 3.4
    events, ended, waited, random = Events(), [], [], Random(5)

    def done(call: Call, ok: bool) -> None:
        assert ok
        ended.append(events.now - call.began)
        waited.append(call.began > call.arrived)

    replica, works = BatchReplica(events, batch, 1, 100, done), times_of(random, 100, scv)

    def arrive(_: object) -> None:
        replica.take(Call(events.now, next(works), 1e18, 0))
        events.after(random.expovariate(rate), arrive)

    events.at(0.0, arrive)
    events.run(6000.0)
    formula = batch_wait(batch, 1, rate, 1, 100, percentile=0.99)
    assert len(ended) + replica.open == pytest.approx(rate * 6000, rel=0.03)
    assert sum(ended) / len(ended) == pytest.approx(formula.answer_s, rel=0.05)
    assert sum(waited) / len(waited) == pytest.approx(formula.waits, abs=0.02)
