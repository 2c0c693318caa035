"""Our reading of Ray Serve's autoscaling, held against Ray's own functions on random input."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace
from typing import Any

import pytest

from assay.capacity.serve_policy import ServePolicy, mean_of_reports

pytestmark = pytest.mark.ray


def of_ray(settings: dict[str, Any]) -> tuple[Any, Any]:
    """Ray's configuration and its default policy, wrapped as Serve's controller wraps it."""
    config = pytest.importorskip("ray.serve.config")
    policy = pytest.importorskip("ray.serve.autoscaling_policy")
    return config.AutoscalingConfig(**settings), policy._apply_autoscaling_config(
        policy._core_replica_queue_length_policy
    )


class Ray:
    """One deployment as DeploymentAutoscalingState.get_decision_num_replicas decides, on a clock of the test's."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.config, self.policy = of_ray(settings)
        self.state: dict[str, Any] = {}

    def decide(self, running: int, target: int, total: float) -> int:
        context = SimpleNamespace(
            current_num_replicas=running,
            target_num_replicas=target,
            total_num_requests=total,
            config=self.config,
            policy_state=self.state,
        )
        wanted, self.state = self.policy(context)
        return max(self.config.min_replicas, min(self.config.max_replicas, wanted))


@pytest.mark.parametrize("seed", range(6))
def test_decisions_are_rays_own(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 2,000 looks each; a wrong delay, rounding or bound differs within the first hundred.
    draw = random.Random(seed)
    settings = {
        "min_replicas": draw.choice((0, 1, 3)),
        "max_replicas": draw.choice((3, 20, 400)),
        "target_ongoing_requests": draw.choice((1.0, 2.5, 16.0)),
        "upscale_delay_s": draw.choice((0.0, 5.0, 30.0)),
        "downscale_delay_s": draw.choice((0.0, 12.0, 60.0)),
        "upscaling_factor": draw.choice((None, 0.3, 2.0)),
        "downscaling_factor": draw.choice((None, 0.1, 0.5)),
    }
    ray = Ray(settings)
    ours = ServePolicy(
        settings["min_replicas"],
        settings["max_replicas"],
        settings["target_ongoing_requests"],
        settings["upscale_delay_s"],
        settings["downscale_delay_s"],
        settings["upscaling_factor"] or 1.0,
        settings["downscaling_factor"] or 1.0,
    )
    now, target, load = 1000.0, settings["min_replicas"], 0.0
    monkeypatch.setattr("ray.serve.autoscaling_policy.time", SimpleNamespace(time=lambda: now))
    changes = 0
    for _ in range(2000):
        now += draw.choice((0.1, 1.0, 4.0))
        if draw.random() < 0.05:
            load = draw.choice((0.0, 1.0, draw.uniform(0, 900)))
        running = max(0, target - draw.choice((0, 0, 0, 1, 2)))
        total = load * draw.uniform(0.9, 1.1)
        decided = ray.decide(running, target, total)
        assert ours.decide(now, running, target, total) == decided
        changes += decided != target
        target = decided
    assert changes > 20  # the loads did move it


@pytest.mark.parametrize("seed", range(4))
def test_the_total_is_rays_own_mean_of_the_reports(seed: int) -> None:
    common = pytest.importorskip("ray.serve._private.common")
    metrics = pytest.importorskip("ray.serve._private.metrics_utils")
    aggregation = pytest.importorskip("ray.serve.config").AggregationFunction.MEAN
    draw = random.Random(seed)
    for _ in range(50):
        series = []
        for _ in range(draw.randint(1, 30)):
            start = draw.randint(0, 3000)
            times = sorted({start + draw.randint(0, 3000) for _ in range(draw.randint(0, 6))})
            series.append([(time / 100, float(draw.randint(0, 64))) for time in times])
        now = 61.0
        ours = mean_of_reports(series, now)
        filled = [[common.TimeStampedValue(*point) for point in each] for each in series if each]
        merged = metrics.merge_instantaneous_total(filled) if filled else []
        if not merged:
            assert ours == 0
            continue
        # As _merge_and_aggregate_timeseries opens and closes the window.
        aligned = max(each[0].timestamp for each in filled)
        start_s = max(aligned, merged[0].timestamp) if len(filled) > 1 and aligned <= merged[-1].timestamp else None
        theirs = metrics.aggregate_timeseries(
            merged, aggregation_function=aggregation, last_window_s=now - merged[-1].timestamp, window_start=start_s
        )
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_a_replica_that_joins_shortens_the_window_for_all() -> None:
    # Alone, the old replica's 10 s at 8 and 20 s at 2 give 4; with one that reported from 20 s on, the mean of the last
    # 10 s alone counts: 2 + 6. A mean over all 30 s would be 4 + 2.
    old = [(0.0, 8.0), (10.0, 2.0)]
    assert mean_of_reports([old], 30.0) == pytest.approx((8 * 10 + 2 * 20) / 30)
    assert mean_of_reports([old, [(20.0, 6.0)]], 30.0) == pytest.approx(8.0)


def test_our_engine_sets_what_the_model_takes_for_it() -> None:
    serve_app = pytest.importorskip("assay.engine.serve_app")
    from assay.capacity.read import specification_of

    bound = serve_app.application("probe", "probe.engine", {"replicas": "1:4"})
    options = bound._bound_deployment._deployment_config
    scaling = options.autoscaling_config
    pool = {"gpus_per_node": 1, "gpu_memory_gib": 1, "cpus_per_node": 8, "memory_gib_per_node": 64}
    service = {"pool": "gpu", "calls": {"per_s": 1, "step_s": 1}}
    specification, _ = specification_of(
        {"pools": {"gpu": {**pool, "price_per_node_hour": 1}}, "services": {"probe": service}}
    )
    ours = dataclasses.asdict(specification.services["probe"].scaling)
    assert ours["ongoing"] == scaling.target_ongoing_requests
    assert ours["upscale_delay_s"] == scaling.upscale_delay_s
    assert ours["downscale_delay_s"] == scaling.downscale_delay_s
    assert ours["look_back_s"] == scaling.look_back_period_s
    assert ours["metrics_interval_s"] == scaling.metrics_interval_s
    assert ours["max_ongoing"] == options.max_ongoing_requests
    assert ours["drain_s"] == options.graceful_shutdown_timeout_s


def test_rays_autoscaler_launches_and_looks_as_often_as_we_say() -> None:
    constants = pytest.importorskip("ray.autoscaler._private.constants")
    from assay.capacity.figures import Section
    from assay.capacity.read import _cluster

    cluster = _cluster(Section({}, "cluster", {}))
    assert cluster.launches == constants.AUTOSCALER_MAX_CONCURRENT_LAUNCHES
    assert cluster.update_s == constants.AUTOSCALER_UPDATE_INTERVAL_S
