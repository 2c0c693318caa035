"""The one error of a model that computes no numbers, wherever it is noticed."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.errors import Internal


def finite(logits: Tensor) -> Tensor:
    """The logits themselves, or losses. Internal with reason NON_FINITE where one is infinite or no number."""
    if not torch.isfinite(logits).all():
        raise Internal(
            "the model computed logits that are no numbers; its weights or its number format overflow, so try it in "
            "float32, or with dense attention",
            reason="NON_FINITE",
        )
    return logits
