"""Kubernetes' autoscaler of fronts, against the examples of its documentation."""

from __future__ import annotations

from assay.capacity.hpa import Hpa, desired_replicas


def test_the_documentations_examples() -> None:
    # https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details: 200m for a target of
    # 100m doubles, 50m halves; 5 pods at 120 % of it make 6; within a tenth nothing happens.
    assert desired_replicas(3, 0, used=3 * 0.200, target=0.100) == 6
    assert desired_replicas(4, 0, used=4 * 0.050, target=0.100) == 2
    assert desired_replicas(5, 0, used=5 * 0.120, target=0.100) == 6
    assert desired_replicas(5, 0, used=5 * 0.109, target=0.100) == 5
    assert desired_replicas(5, 0, used=5 * 0.091, target=0.100) == 5


def test_pods_that_are_not_ready_count_as_using_nothing() -> None:
    # Two pods at 300m: 6 alone; with two more on their way the ratio is 1.5 of four: still 6, not 12.
    assert desired_replicas(2, 0, used=0.6, target=0.1) == 6
    assert desired_replicas(2, 2, used=0.6, target=0.1) == 6
    assert desired_replicas(2, 4, used=0.6, target=0.1) == 6  # 1.0: enough is coming


def test_up_goes_by_four_pods_or_double_in_a_quarter_minute() -> None:
    hpa = Hpa(least=2, most=100, target=0.1)
    counts, ready = [], 2
    for look in range(5):
        ready = hpa.sync(15.0 * look, ready, 0, used=100 * 0.1)
        counts.append(ready)
    assert counts == [6, 12, 24, 48, 96]


def test_down_waits_for_the_highest_advice_of_five_minutes() -> None:
    hpa = Hpa(least=2, most=100, target=0.1)
    ready = hpa.sync(0.0, 10, 0, used=10 * 0.1)
    course = [hpa.sync(15.0 * look, ready, 0, used=4 * 0.1) for look in range(1, 24)]
    assert course[:20] == [10] * 20  # up to 300 s
    assert course[20] == 4


def test_bounds_hold() -> None:
    assert Hpa(2, 6, 0.1).sync(0.0, 6, 0, used=6.0) == 6
    assert Hpa(2, 6, 0.1).sync(0.0, 2, 0, used=0.0) == 2
