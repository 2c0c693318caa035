"""Residuals after every layer of a model that attends sparsely, for tokens that it decodes."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.no_numbers import no_numbers
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig


def decoded_residuals(
    model: PreTrainedModel, ids: Tensor, sparse: SparseConfig, prompt_tokens: int, cancel: CancelToken
) -> list[Tensor]:
    """h_0, ..., h_L of `residuals`, with the first `prompt_tokens` >= 1 read as a prompt and the others decoded.

    ids: [B, T] int64 without padding. A decoded token chooses its blocks from the last queries, one of a prompt shares
    its block's choice, so that what holds for the one need not hold for the other. Tokens of a block share a pass, in
    which each is a step of its own. Attaches to the model. Raises what `residuals` raises, but Internal for logits that
    are no numbers; Cancelled or DeadlineExceeded, checked for every block of tokens.
    """
    attach(model)
    cache = SparseCache(model.config, sparse)
    found = []
    try:
        with cache.reading():
            found.append(residuals(model, ids[:, :prompt_tokens], cache))
        with cache.decoding():
            for start in range(prompt_tokens, ids.shape[1], sparse.block_size):
                cancel.check()
                found.append(residuals(model, ids[:, start : start + sparse.block_size], cache))
    except FailedPrecondition as error:
        raise (no_numbers() if error.reason == "MODEL_NOT_FINITE" else error) from None
    return [torch.cat(pieces, dim=1) for pieces in zip(*found, strict=True)]
