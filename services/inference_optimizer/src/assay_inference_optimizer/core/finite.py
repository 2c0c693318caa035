"""Where logits or losses that are no numbers are noticed."""

from __future__ import annotations

import torch
from torch import Tensor

from assay_inference_optimizer.core.no_numbers import no_numbers


def finite(logits: Tensor) -> Tensor:
    """The logits themselves, or losses. Internal with reason NON_FINITE where one is infinite or no number."""
    if not torch.isfinite(logits).all():
        raise no_numbers()
    return logits
