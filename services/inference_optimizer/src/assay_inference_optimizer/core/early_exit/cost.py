"""What a look at the logits costs, measured in layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from assay_inference_optimizer.core.early_exit.parts import parts_of

_EXPERT = re.compile(r"(^|\.)experts\.")


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds of one token by weights alone: attention over context and state scans are left out, so that a
    probe looks cheaper the longer the context.

    layer: mean over layers, experts at the share that a token is sent to. head: V * h.
    """

    layer: float
    head: int

    @property
    def head_layers(self) -> float:
        """One probe of the logit lens, in layers. Fox-1: 256,000 * 2,048 against 36 M is 14.7."""
        return self.head / self.layer


def layer_cost(model: PreTrainedModel) -> LayerCost:
    parts = parts_of(model)
    config: Any = model.config
    each = [_layer_multiply_adds(layer, config) for layer in parts.layers]
    return LayerCost(sum(each) / len(each), parts.head.weight.numel())


def _layer_multiply_adds(layer: nn.Module, config: Any) -> float:
    total = 0.0
    for name, weight in layer.named_parameters():
        if weight.dim() >= 2:
            total += weight.numel() * (_active_share(weight.shape[0], config) if _EXPERT.search(name) else 1.0)
    return total


def _active_share(experts: int, config: Any) -> float:
    """Of a fused [experts, ...] parameter: k / m."""
    chosen = getattr(config, "num_experts_per_tok", None)
    return 1.0 if chosen is None else min(1.0, chosen / experts)
