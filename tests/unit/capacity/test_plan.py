"""Plans whose figures can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from assay.capacity.plan import mix_of, plan
from assay.capacity.queueing import wait
from assay.errors import InvalidInput

from .small import specification

FOX = {"parameters": 1.67e9, "layers": 32, "kv_heads": 4, "head_dim": 128}
BATCH = {"turn_s": 0.006, "sequence_s": 0.0002, "prompt_token_s": 2e-5, "most": 16}
CALLS = {"per_s": 40, "prompt_tokens": 800, "answer_tokens": 250}


def test_calls_get_the_servers_that_their_wait_wants() -> None:
    planned = plan(specification())
    service = planned.services[0]
    # 9 erlangs at 80 % are 12 servers, and 12 wait 0.55 s at the 99th percentile; 11 would be busy for 82 %.
    assert service.replicas == 12
    assert service.wait_percentile_s == pytest.approx(wait(12, 18, 0.5).percentile(0.99))
    assert service.open_calls == pytest.approx(18 * (0.5 + wait(12, 18, 0.5).mean_s))  # Little
    # Two nodes of eight, one more that may be lost, two while an upgrade runs; 20 an hour each.
    pool = planned.pools[0]
    assert (pool.base_nodes, pool.spare_nodes, pool.upgrade_nodes) == (2, 1, 2)
    assert (pool.gpus_used, pool.gpus_bought) == (12, 24)
    assert planned.cost_per_hour == 60
    assert service.cost_per_thousand == pytest.approx(60 / (18 * 3600) * 1000)
    assert planned.findings == ()


def test_a_shorter_wait_costs_replicas() -> None:
    tight = plan(specification(services__probe__calls__wait_s=0.1)).services[0]
    assert tight.replicas > 12
    assert tight.wait_percentile_s <= 0.1


def test_operations_are_their_steps() -> None:
    planned = plan(
        specification(
            services__probe__calls=None, services__probe__operations={"per_hour": 60, "steps": 30, "step_s": 30}
        )
    )
    service = planned.services[0]
    # 60 x 30 x 30 s an hour are 15 servers; at 80 % 19.
    assert service.replicas == 19
    assert service.utilisation == pytest.approx(15 / 19)
    line = wait(19, 0.5, 30, service_scv=0.25)
    assert service.operation_s == pytest.approx(15 * (30 + line.mean_s))  # two steps at a time
    assert service.cost_per_thousand == pytest.approx(planned.cost_per_hour / 60 * 1000)


def test_calls_and_steps_in_one_line_spread_its_times() -> None:
    needs = specification(
        services__probe__operations={"per_hour": 100, "steps": 36, "step_s": 10, "step_scv": 0}
    ).services["probe"]
    mix = mix_of(needs.calls, needs.operations)
    # 18 calls of 0.5 s (second moment 0.5) and 1 step of 10 s (100) a second: mean 1, second moment 109/19.
    assert (mix.rate, mix.step_s) == (19, pytest.approx(1.0))
    assert mix.step_scv == pytest.approx(109 / 19 - 1)


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        # 9 erlangs on 12 replicas are 75 %; a day's peak of 1.2 times is 90 %, one of 1.5 times 112 %.
        (
            {"kind": "diurnal", "depth": 0.2},
            "services.probe.calls.arrivals: diurnal, 21.6 a second at the peak, 90 % of what 12 replicas serve",
        ),
        (
            {"kind": "diurnal", "depth": 0.5},
            "services.probe.calls.arrivals: diurnal, 27 a second at the peak, 112 % of what 12 replicas serve",
        ),
        # Three times the quiet rate for a sixth of the time: 18 = (300 + 3 x 60) / 360 of it, 13.5 and 40.5.
        (
            {"kind": "bursty", "burst": 3, "burst_s": 60, "quiet_s": 300},
            "services.probe.calls.arrivals: bursty, 40.5 a second at the peak, 169 % of what 12 replicas serve",
        ),
        (
            {"kind": "flash", "factor": 4, "at_s": 600, "for_s": 60},
            "services.probe.calls.arrivals: flash, 72 a second at the peak, 300 % of what 12 replicas serve",
        ),
        ({"kind": "dump", "count": 500, "at_s": 60}, "services.probe.calls.arrivals: dump, many at one moment"),
        ({"kind": "recorded", "file": "trace.csv"}, "services.probe.calls.arrivals: recorded, as they came"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_traffic_that_changes_is_said_to_be_planned_as_if_it_did_not(arrivals: dict[str, Any], said: str) -> None:
    (finding,) = plan(specification(services__probe__calls__arrivals=arrivals)).findings
    assert finding.startswith(said)
    assert "Poisson arrivals of 18 a second" in finding
    assert "simulate" in finding
    assert ("calls.per_s" in finding) == (any(share in finding for share in ("112 %", "169 %", "300 %")))


def test_so_are_operations_that_change_and_their_calls_beside_them() -> None:
    operations = {"per_hour": 60, "steps": 30, "step_s": 2, "arrivals": {"kind": "diurnal", "depth": 1}}
    planned = plan(specification(services__probe__operations=operations))
    # 9 erlangs of calls and 1 of steps; at the peak 1 more.
    service = planned.services[0]
    assert service.utilisation == pytest.approx(10 / service.replicas)
    (finding,) = planned.findings
    share = 11 / service.replicas
    assert finding.startswith(
        f"services.probe.operations.arrivals: diurnal, 120 an hour at the peak, {share:.0%}".replace("%", " %")
    )


def test_more_than_can_be_reckoned_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"services.probe.calls.per_s: wants more than 524,288 servers; allow"):
        plan(specification(services__probe__calls__per_s=1e12))
    batched = {"models": {"fox": FOX}, "services__probe__model": "fox", "services__probe__batch": BATCH}
    with pytest.raises(InvalidInput, match=r"services.probe.calls.per_s: wants more than 32,768 servers; allow"):
        plan(specification(**batched, services__probe__calls=CALLS | {"per_s": 1e12}))
    # What one call alone takes of a token is met by no number of replicas.
    alone = 0.006 + 0.0002 + 2e-5 * 800 / 250
    with pytest.raises(InvalidInput, match=r"services.probe.calls.token_s: "):
        plan(specification(**batched, services__probe__calls=CALLS | {"token_s": alone}))
    with pytest.raises(InvalidInput, match=r"services.probe.operations.per_hour: wants more than 524,288 servers"):
        plan(
            specification(
                services__probe__calls=None, services__probe__operations={"per_hour": 1e9, "steps": 30, "step_s": 30}
            )
        )


def test_a_batching_replica_takes_its_rate_from_the_batch() -> None:
    planned = plan(
        specification(
            models={"fox": FOX},
            services__probe__model="fox",
            services__probe__batch=BATCH,
            services__probe__calls=CALLS,
        )
    )
    service = planned.services[0]
    # A turn of 16: 6 + 16 (0.2 + 0.064) = 10.224 ms, 250 to an answer: 6.26 answers a second, 40 / 0.8 / 6.26 = 7.99.
    assert service.replicas == 8
    assert service.utilisation == pytest.approx(40 / 8 / (16 / (250 * 0.010224)))
    assert service.memory is not None
    assert service.memory.weight_bytes == 3.34e9
    assert service.memory.sequence_bytes == 65536 * 1050


def test_a_batch_that_does_not_fit_says_how_many_do() -> None:
    with pytest.raises(InvalidInput, match=r"services.probe.batch.most: is 600, .* 257 sequences of 1050 tokens fit"):
        plan(
            specification(
                models={"fox": FOX}, services__probe__model="fox", services__probe__batch=BATCH | {"most": 600},
                services__probe__calls=CALLS, pools__gpu__gpu_memory_gib=24,
            )
        )  # fmt: skip


def test_fronts_follow_what_needs_most_of_them() -> None:
    slow = plan(specification(services__probe__calls={"per_s": 18, "step_s": 20}))
    # 360 calls are open, 417 with three deviations: seven fronts of 64, which the CPU would never ask for.
    assert (slow.services[0].fronts.replicas, slow.services[0].fronts.why) == (7, "calls in flight")
    assert slow.findings == (
        "services.probe: 7 fronts for its calls in flight, and HPA stops at 6; raise front.autoscaling.max",
    )
    busy = plan(specification(services__probe__front={"calls_per_core_s": 10}))
    # 1.8 cores at 70 % of a quarter each.
    assert (busy.services[0].fronts.replicas, busy.services[0].fronts.why) == (11, "calls a second")


def test_zones_and_quotas() -> None:
    zones = plan(specification(pools__gpu__zones=3, margin={"lost_zones": 1, "lost_nodes": 0}))
    # Two nodes must stay of three zones' less one: one a zone.
    assert zones.pools[0].spare_nodes == 1
    with pytest.raises(InvalidInput, match=r"pools.gpu.zones: is 1; more than margin.lost_zones"):
        plan(specification(margin={"lost_zones": 1}))
    upgrade = plan(specification(pools__gpu__quota_gpus=24))
    assert upgrade.findings[0].startswith("pools.gpu: 40 GPUs while an upgrade runs against a quota of 24")
    assert plan(specification(pools__gpu__quota_gpus=24, services__probe__upgrade="None")).findings == ()
    short = plan(specification(pools__gpu__quota_gpus=16))
    assert short.findings[0].startswith("pools.gpu: 24 GPUs against a quota of 16")


def test_nodes_fill_by_whatever_runs_out_first() -> None:
    assert plan(specification(services__probe__cpu=40)).pools[0].base_nodes == 6  # two of 40 cores on 96
    assert plan(specification(services__probe__memory_gib=300)).pools[0].base_nodes == 4  # three of 300 GiB
    with pytest.raises(
        InvalidInput, match=r"services.probe.cpu: a replica of 1 GPUs, 100 cores .* fits no node of gpu"
    ):
        plan(specification(services__probe__cpu=100))


def test_too_much_for_one_cluster_is_said_with_its_source() -> None:
    planned = plan(specification(services__probe__calls={"per_s": 9000, "step_s": 0.5}, pools__gpu__quota_gpus=10**6))
    broken = {limit.name: limit for limit in planned.broken}
    assert broken["ray_nodes"].most == 250
    assert "ray-project/ray" in broken["ray_nodes"].source
    assert broken["serve_replicas_small_head"].reached > 4096
    assert "kubernetes_nodes" not in broken
