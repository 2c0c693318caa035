"""What a language model is asked to predict in a window of text, whatever its family."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def predict(model: nn.Module, windows: Tensor, **options: Any) -> tuple[Any, Tensor]:
    """Runs `model` over windows and returns (its output with logits [B, P, V], targets [B, P]).

    windows: [B, T] int64 token ids without padding. A causal model predicts each next token, P = T - 1; an
    encoder-decoder reads the first half and predicts the second (prefix language modelling, P = T - T // 2), its
    decoder starting from its start mark as in T5. options: passed on to the model's forward.
    """
    config: Any = model.config
    if config.is_encoder_decoder:
        half = windows.shape[1] // 2
        source, targets = windows[:, :half], windows[:, half:]
        shifted = F.pad(targets[:, :-1], (1, 0), value=config.decoder_start_token_id)
        return model(input_ids=source, decoder_input_ids=shifted, use_cache=False, **options), targets
    return model(input_ids=windows[:, :-1], use_cache=False, **options), windows[:, 1:]


def token_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every target, [B, P] float32 nats, from logits [B, P, V] of any float type."""
    nats = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view(targets.shape)
