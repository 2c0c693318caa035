"""How much faster a prefill could be at given densities, by counting multiplications; what a machine reaches of it is
for the benchmark to measure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, padded_head_dim


@dataclass(frozen=True)
class PredictedSpeed:
    """Dense over sparse multiplications of a prefill of `length` tokens: of attention (choosing blocks included), and
    of the whole model. selection_share: choosing blocks within sparse attention."""

    length: int
    attention_ratio: float
    prefill_ratio: float
    selection_share: float


def predict_speed(
    model: PreTrainedModel, sparse: SparseConfig, layer_density: Mapping[int, float], length: int
) -> PredictedSpeed:
    """layer_density: of each layer with attention; 1 for those that run dense, which choose no blocks."""
    text = model.config.get_text_config(decoder=True)
    heads = int(text.num_attention_heads)
    head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    dense = 2 * heads * head_dim * length * (length + 1) / 2
    choose = _selection(sparse, heads, int(getattr(text, "num_key_value_heads", None) or heads), text, length)
    attended = sum(density * dense for density in layer_density.values())
    choosing = choose * sum(density < 1 for density in layer_density.values())
    whole, rest = dense * len(layer_density), active_weights(model) * length
    return PredictedSpeed(
        length,
        whole / (attended + choosing),
        (whole + rest) / (attended + choosing + rest),
        choosing / (attended + choosing),
    )


def _selection(sparse: SparseConfig, heads: int, key_heads: int, text: object, length: int) -> float:
    """Multiplications of choosing the blocks of one layer: rotation, scores of block pairs, walk."""
    if sparse.method in (Method.DENSE, Method.SINK_WINDOW, Method.RANDOM):
        return 0.0
    blocks = math.ceil(length / sparse.block_size)
    padded = padded_head_dim(text)
    rotation = blocks * (heads + key_heads) * padded * math.log2(padded)
    scores = blocks * (blocks + 1) / 2 * heads * sparse.sketch_dimensions(padded)
    degree = 0 if sparse.method is Method.ONE_HOP else sparse.degree
    return rotation + scores + degree * float(blocks) ** 3


def active_weights(model: PreTrainedModel) -> float:
    """Weights that multiply each token of a prefill: matrices without the head, of experts the chosen share."""
    text = model.config.get_text_config(decoder=True)
    counts = (getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    experts = int(next(filter(None, counts), 0))
    share = float(getattr(text, "num_experts_per_tok", None) or 1) / experts if experts else 1.0
    head: object = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    total = 0.0
    for name, parameter in model.named_parameters():
        owner: nn.Module = model.get_submodule(name.rpartition(".")[0])
        if parameter.dim() == 3 and experts and parameter.shape[0] == experts:
            total += parameter.numel() * share
        elif parameter.dim() == 2 and owner is not head and not isinstance(owner, nn.Embedding):
            total += parameter.numel()
    return total
