"""From what the science says to messages."""

from __future__ import annotations

from collections.abc import Iterable

from assay.moe_router.v1 import moe_router_pb2 as api
from assay_moe_router.active_plan import Activation
from assay_moe_router.core.evaluate import Comparison, Evaluation
from assay_moe_router.core.importance import Importance, Metric
from assay_moe_router.core.layers import ModelLayout
from assay_moe_router.core.load_imbalance import load_imbalance
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.replicate_quantize import Policy
from assay_moe_router.core.statistics import LayerRouting, RoutingStatistics

METRICS = {
    api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS: Metric.LEAVE_ONE_OUT_LOSS,
    api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY: Metric.LEAVE_ONE_OUT_ACCURACY,
    api.IMPORTANCE_METRIC_ACTIVATION_NORM: Metric.ACTIVATION_NORM,
    api.IMPORTANCE_METRIC_WANDA_ROW: Metric.WANDA_ROW,
    api.IMPORTANCE_METRIC_FREQUENCY: Metric.FREQUENCY,
}
POLICIES = {
    api.PLAN_POLICY_UNSPECIFIED: Policy.TARGET_LIS,
    api.PLAN_POLICY_PAPER: Policy.PAPER,
    api.PLAN_POLICY_TARGET_LIS: Policy.TARGET_LIS,
    api.PLAN_POLICY_BYTES: Policy.BYTES,
}


def layout_to_proto(layout: ModelLayout, fingerprint: str) -> api.DescribeModelResponse:
    return api.DescribeModelResponse(
        model_class=layout.model_class,
        model_type=layout.model_type,
        fingerprint=fingerprint,
        layers=[
            api.MoeLayer(
                layer=layer.layer,
                experts=layer.experts,
                top_k=layer.top_k,
                shared_experts=layer.shared_experts,
                bytes_per_expert=layer.bytes_per_expert,
                dtype=layer.dtype,
                capacity=layer.capacity,
                layout=layer.layout,
                transposed=layer.transposed,
                interleaved=layer.interleaved,
                biased=layer.biased,
            )
            for layer in layout.layers
        ],
        dense_layers=layout.dense_layers,
        parameters=layout.parameters,
        expert_parameters=layout.expert_parameters,
        bytes=layout.bytes,
    )


def statistics_to_proto(digest: str, statistics: RoutingStatistics) -> api.CalibrateResult:
    return api.CalibrateResult(statistics=digest, layers=map(_balance, statistics.layers))


def _balance(layer: LayerRouting) -> api.LayerBalance:
    return api.LayerBalance(
        layer=layer.layer,
        # 0 stands for "no token came here": such a layer has no balance.
        load_imbalance=load_imbalance(layer.loads, layer.experts) if layer.loads.sum() else 0.0,
        routed_tokens=int(layer.loads.sum()),
        masked_tokens=layer.masked_tokens,
        dropped_tokens=layer.dropped_tokens,
        expert_tokens=layer.loads.tolist(),
        expert_weight_sums=layer.weight_sums.tolist(),
    )


def importance_to_proto(digest: str, importance: Importance) -> api.ScoreImportanceResult:
    return api.ScoreImportanceResult(
        importance=digest,
        layers=[
            api.LayerImportance(layer=layer.layer, expert_importance=layer.scores.tolist())
            for layer in importance.layers
        ],
    )


def plan_to_proto(digest: str, plan: BalancePlan) -> api.PlanReplicateQuantizeResponse:
    answer = api.PlanReplicateQuantizeResponse(
        plan=digest, bytes_before=plan.bytes_before, bytes_after=plan.bytes_after
    )
    for layer in plan.layers:
        added = answer.layers.add(
            layer=layer.layer, slot_experts=layer.slot_experts, slot_bits=layer.slot_bits, notes=layer.notes
        )
        if any(layer.expert_tokens):
            balance = layer.balance(layer.expert_tokens)
            added.load_imbalance_before = balance.before
            added.lis_logical, added.lis_slots = balance.lis_logical, balance.lis_slots
    return answer


def activation_to_proto(activation: Activation) -> api.ActivePlan:
    return api.ActivePlan(plan=activation.plan, balanced_model=activation.balanced_model, epoch=activation.epoch)


def evaluation_to_proto(digest: str, evaluation: Evaluation) -> api.EvaluateResult:
    return api.EvaluateResult(
        evaluation=digest,
        loss_nats=_comparison(evaluation.loss_nats),
        accuracy=_comparison(evaluation.accuracy),
        layers=_changes(evaluation),
        sequences=evaluation.sequences,
    )


def _changes(evaluation: Evaluation) -> Iterable[api.BalanceChange]:
    for layer, balance in sorted(evaluation.balances.items()):
        yield api.BalanceChange(
            layer=layer,
            load_imbalance_before=balance.before,
            lis_logical=balance.lis_logical,
            lis_slots=balance.lis_slots,
            ratio=balance.ratio,
        )


def _comparison(comparison: Comparison) -> api.Comparison:
    return api.Comparison(
        before=comparison.before,
        after=comparison.after,
        change=comparison.change,
        change_low=comparison.low,
        change_high=comparison.high,
    )
