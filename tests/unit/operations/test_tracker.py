"""Progress: counts that only grow, rates from what was seen, a wake-up for every change."""

from __future__ import annotations

import pytest

from assay.engine.engine import StepProgress
from assay.operations.tracker import Tracker, from_json, to_json


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("assay.operations.tracker.time.monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_follow_from_the_first_and_the_latest_word(clock: list[float]) -> None:
    tracker = Tracker()
    tracker.expect(2)
    tracker.progress("calibrate/0", StepProgress(0, 100, "sequences"))
    clock[0] += 4.0
    tracker.progress("calibrate/0", StepProgress(20, 100, "sequences", {"loss_nats": 2.5}))
    seen = tracker.snapshot()
    # 20 in 4 s are 5 a second; the other 80 take 16 s.
    assert (seen.rate_per_s, seen.eta_s) == (5.0, 16.0)
    assert (seen.done, seen.total, seen.unit, dict(seen.figures)) == (20, 100, "sequences", {"loss_nats": 2.5})
    assert (seen.steps_done, seen.steps_total, seen.stage) == (0, 2, "calibrate/0")


def test_nothing_is_said_of_the_time_left_where_nothing_is_known(clock: list[float]) -> None:
    tracker = Tracker()
    tracker.progress("train", StepProgress(5, 0))
    assert tracker.snapshot().eta_s == 0
    clock[0] += 1.0
    tracker.progress("train", StepProgress(9, 0))
    assert (tracker.snapshot().rate_per_s, tracker.snapshot().eta_s) == (4.0, 0)


def test_a_step_that_is_tried_again_is_timed_anew(clock: list[float]) -> None:
    tracker = Tracker()
    tracker.progress("score/1", StepProgress(0, 10))
    tracker.committed("score/1")
    clock[0] += 50.0
    tracker.progress("score/1", StepProgress(0, 10))
    clock[0] += 1.0
    tracker.progress("score/1", StepProgress(2, 10))
    assert tracker.snapshot().rate_per_s == 2.0


def test_a_front_that_goes_on_counts_no_step_away() -> None:
    first = Tracker()
    first.expect(7)
    for _ in range(5):
        first.committed("shard")
    second = Tracker()
    second.resume(from_json(to_json(first.snapshot())))
    assert (second.snapshot().steps_done, second.snapshot().steps_total) == (5, 7)
    second.expect(6)
    counts = []
    for _ in range(6):
        second.replayed()
        counts.append(second.snapshot().steps_done)
    assert counts == [5, 5, 5, 5, 5, 6]
    assert second.snapshot().steps_total == 7


def test_whoever_asks_before_a_look_is_woken_by_what_comes_after() -> None:
    tracker = Tracker()
    change = tracker.next_change()
    assert not change.is_set()
    tracker.expect(1)
    assert change.is_set()
    assert not tracker.next_change().is_set()
