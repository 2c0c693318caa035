"""What a perturbation does to general text."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.predict import predict, token_nats
from assay.models.windows import Windows

_TOKENS_AT_ONCE = 4096


@torch.inference_mode()
def window_nats(model: PreTrainedModel, windows: Windows, *, cancel: CancelToken) -> NDArray[np.float64]:
    """Mean nats a predicted token of each window, [S]; exp of their mean is the perplexity. InvalidInput for none."""
    if not windows.sequences:
        raise InvalidInput("text", "fills no window; give longer text")
    parts = []
    for ids in windows.batches(max(1, _TOKENS_AT_ONCE // windows.ids.shape[1])):
        cancel.check()
        output, targets = predict(model, ids.to(model.device))
        parts.append(token_nats(output.logits, targets).double().mean(1).cpu())
    return torch.cat(parts).numpy()
