"""What Serve's controller spends on one decision, and what the simulator's choice of a replica saves.

    PYTHONPATH=tests python -m bench.capacity [--rounds N]

First: Ray's own DeploymentAutoscalingState, with a report of the last 30 s from every replica as HAProxy mode sends
them, asked for its total, which it reckons anew every 0.1 s: processor seconds a second, of the one core that the
controller has. Nothing else that it does is in this figure. Second: choosing the least loaded of many replicas by rows
of equal load, against looking at all of them; the same calls, so that both choose replicas of the same load. Times
of the process, the ways in turn, medians. No bar: the first is a limit of the design, given in docs/capacity.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from random import Random

from assay.capacity.events import Events
from assay.capacity.line import LeastOpen, StepReplica
from bench.moe_parts.tables import show

REPLICAS = (10, 100, 1000, 4000)
LOOKS_PER_S = 10
CALLS = 20_000


def main(rounds: int) -> bool:
    decisions = {count: [decision_s(count) for _ in range(rounds)] for count in REPLICAS}
    rows = []
    for count, seconds in decisions.items():
        median = statistics.median(seconds)
        rows.append((count, f"{1e3 * median:.2f}", f"{LOOKS_PER_S * median:.1%}", _range(seconds, 1e3)))
    show("Serve's controller, one deployment", ("replicas", "ms a decision", "of a core", "rounds, ms"), rows)
    rows = []
    for count in REPLICAS:
        pairs = [(rows_s(count, seed), naive_s(count, seed)) for seed in range(rounds)]
        gains = sorted(naive / ours for ours, naive in pairs)
        rows.append((count, f"{statistics.median(gains):.1f}x", f"[{gains[0]:.1f}, {gains[-1]:.1f}]"))
    show("choosing the least loaded replica", ("replicas", "times as fast as looking at all", "rounds"), rows)
    return True


def decision_s(count: int) -> float:
    """Processor seconds of one total over `count` replicas' reports, of five points each."""
    from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
    from ray.serve._private.common import (
        RUNNING_REQUESTS_KEY,
        DeploymentID,
        ReplicaID,
        ReplicaMetricReport,
        TimeStampedValue,
    )
    from ray.serve.config import AutoscalingConfig

    draw = Random(count)
    deployment = DeploymentID(name="probe", app_name="probe")
    state = DeploymentAutoscalingState(deployment)
    state._config = AutoscalingConfig()
    now = time.time()
    replicas = [ReplicaID(unique_id=f"r{number}", deployment_id=deployment) for number in range(count)]
    state.update_running_replica_ids(replicas)
    for replica in replicas:
        begin = now - 30 - draw.random()
        points = [TimeStampedValue(begin + 6 * each, float(draw.randint(0, 4))) for each in range(5)]
        state.record_request_metrics_for_replica(ReplicaMetricReport(replica, {RUNNING_REQUESTS_KEY: points}, now))
    looks = max(1, 2000 // count)
    start = time.process_time()
    for _ in range(looks):
        state.get_total_num_requests()
    return (time.process_time() - start) / looks


def rows_s(count: int, seed: int) -> float:
    chooser, replicas, draw = LeastOpen(Random(1)), _replicas(count), Random(seed)
    for replica in replicas:
        chooser.add(replica)
    held: list[StepReplica] = []
    start = time.process_time()
    for _ in range(CALLS):
        chosen = chooser.least()
        assert chosen is not None
        chooser.sent(chosen)
        held.append(chosen)
        if len(held) > count // 2:
            chooser.ended(held.pop(draw.randrange(len(held))))
    return time.process_time() - start


def naive_s(count: int, seed: int) -> float:
    """For fewer calls where there are many replicas; scaled to CALLS."""
    replicas, draw = _replicas(count), Random(seed)
    held: list[StepReplica] = []
    calls = min(CALLS, 2_000_000 // count)
    start = time.process_time()
    for _ in range(calls):
        chosen = min(replicas, key=lambda replica: replica.open)
        chosen.open += 1
        held.append(chosen)
        if len(held) > count // 2:
            held.pop(draw.randrange(len(held))).open -= 1
    return (time.process_time() - start) * CALLS / calls


def _replicas(count: int) -> list[StepReplica]:
    return [StepReplica(Events(), 1, lambda call, ok: None) for _ in range(count)]


def _range(values: list[float], factor: float) -> str:
    return f"[{factor * min(values):.2f}, {factor * max(values):.2f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
