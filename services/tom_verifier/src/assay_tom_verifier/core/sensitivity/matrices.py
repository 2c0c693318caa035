"""Which weights are looked at: those of every linear map of every layer (q, k, v, o, gate, up, down and their like)."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from assay.errors import Unimplemented


def matrices(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The layers' two-dimensional weights by name; embeddings and the output head are not among them.

    GPT-2's transposed Conv1D counts as linear. Raises Unimplemented for a model without any, such as one whose experts
    are packed into one tensor and that has no other linear layers.
    """
    head = cast(Any, model).get_output_embeddings()
    found = {
        f"{name}.weight": cast(nn.Parameter, module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if not found:
        raise Unimplemented(f"model: {type(model).__name__} has no linear layers; use a causal transformer")
    return found
