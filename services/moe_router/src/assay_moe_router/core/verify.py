"""Is a balanced model still the model? Asked on a few real sequences before it may become the active one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from assay.errors import FailedPrecondition
from assay.models.predict import predict
from assay.models.windows import Windows
from assay_moe_router.core.export import BalancedModel
from assay_moe_router.core.plan import OWN
from assay_moe_router.core.routing import observe

MAX_DIVERGENCE_NATS = {8: 0.01, 4: 0.1}
"""By the narrowest bits of the plan. On the models of the zoo int8 stays below 0.001 and int4 below 0.05."""


@dataclass(frozen=True)
class Verification:
    """max_abs_difference: of logits. mean_divergence_nats: KL of next-token distributions, original to balanced."""

    max_abs_difference: float
    mean_divergence_nats: float


@torch.inference_mode()
def verify(original: PreTrainedModel, balanced: BalancedModel, probe: Windows) -> Verification:
    """Runs both on the probe in one batch.

    Raises FailedPrecondition where the balanced model gives NaN, strays further than quantization explains, or differs
    at all although its plan is exact.
    """
    with observe(original):
        logits_before = predict(original, probe.ids)[0].logits
    with balanced.running():
        logits_after = predict(balanced.model, probe.ids)[0].logits
    if not torch.isfinite(logits_before).all():
        raise FailedPrecondition(
            "the original model gives values that are not finite on the probe; check its weights",
            reason="VERIFICATION_FAILED",
        )
    if not torch.isfinite(logits_after).all():
        raise _refused("gives values that are not finite")
    before, after = (logits.double().log_softmax(dim=-1) for logits in (logits_before, logits_after))
    found = Verification(
        float((logits_after - logits_before).abs().max()),
        float((before.exp() * (before - after)).sum(dim=-1).mean()),
    )
    if balanced.plan.exact and found.max_abs_difference > 0:
        raise _refused(f"differs by {found.max_abs_difference:g} although the plan is exact")
    narrowest = min((bits for layer in balanced.plan.layers for bits in layer.slot_bits if bits != OWN), default=8)
    allowed = MAX_DIVERGENCE_NATS[narrowest]
    if found.mean_divergence_nats > allowed:
        raise _refused(f"strays {found.mean_divergence_nats:.3g} nats from the original, {allowed} is allowed")
    return found


def _refused(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the balanced model {why}; the active plan stays as it was. Plan again with wider bits or fewer replicas",
        reason="VERIFICATION_FAILED",
    )
