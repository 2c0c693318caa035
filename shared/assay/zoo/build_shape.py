"""A model of a named shape, with random weights or with none at all."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from assay.models.loading import transformers_loading
from assay.zoo.shapes import Shape


def build_shape(
    shape: Shape, *, dtype: torch.dtype = torch.float32, device: str = "cpu", layers: int | None = None
) -> PreTrainedModel:
    """The shape's model in evaluation mode; on device "meta" it has sizes and no memory.

    Weights are drawn from torch's process-wide generator: right for speed, worthless for quality. layers: the first
    so many alone, in place of all.
    """
    sizes = {} if layers is None else {"num_hidden_layers": min(layers, shape.num_layers)}
    config: Any = AutoConfig.for_model(shape.architecture, **{**shape.config, **sizes})
    with transformers_loading(), torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
        if shape.layers:
            model.model.layers = _layers_of(shape, config, dtype)
    model.tie_weights()
    model.eval()  # type: ignore[no-untyped-call]
    return model


def count_parameters(shape: Shape) -> int:
    """Parameters of the model as it is built, tied weights counted once; nothing is allocated."""
    return sum(parameter.numel() for parameter in build_shape(shape, device="meta").parameters())


def _layers_of(shape: Shape, config: Any, dtype: torch.dtype) -> nn.ModuleList:
    """Layers of a size each; the model's own would all be alike."""
    layers = nn.ModuleList()
    for index, each in enumerate(shape.layers[: config.num_hidden_layers]):
        own = copy.deepcopy(config)
        own.num_attention_heads = each.num_attention_heads
        own.num_key_value_heads = each.num_key_value_heads
        own.intermediate_size = each.intermediate_size
        layers.append(Qwen3DecoderLayer(own, index).to(dtype))
    return layers
