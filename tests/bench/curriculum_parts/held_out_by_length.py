"""Held-out loss by kind of text and by length of sequence: a recipe that never met a length is not judged at it alone.

Windows of one domain are the same text for every length that divides the longest.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.models.predict import predict, token_nats
from assay.zoo.tokens import read_tokens

DOMAINS, LENGTHS = ("code", "docstring"), (64, 128, 256)
TOKENS = 32_768  # of each domain
_BATCH_TOKENS = 4096
CANCEL = CancelToken()


def held_out_by_length(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text_dir: Path
) -> dict[tuple[str, int], float]:
    """Nats per byte of the test split's first tokens, by (domain, tokens that each sequence predicts)."""
    streams = {domain: read_tokens(text_dir, "test", tokenizer, domain=domain, cancel=CANCEL) for domain in DOMAINS}
    found = {}
    with torch.inference_mode():
        for (domain, stream), length in product(streams.items(), LENGTHS):
            windows = stream.windows(length)[: TOKENS // length]
            nats = [
                token_nats(*_logits(model, batch)).double().sum() for batch in windows.split(_BATCH_TOKENS // length)
            ]
            per_token = torch.stack(nats).sum().item() / (windows.shape[0] * length)
            found[domain, length] = per_token * stream.ids.numel() / stream.text_bytes
    return found


def _logits(model: PreTrainedModel, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    output, targets = predict(model, windows)
    return output.logits, targets
