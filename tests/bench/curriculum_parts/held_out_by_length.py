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
from assay.zoo.tokens import TokenStream, read_tokens

DOMAINS, LENGTHS = ("code", "docstring"), (128, 256)
TOKENS = 16_384  # of each domain
_BATCH_TOKENS = 4096


def held_out_streams(tokenizer: PreTrainedTokenizerBase, text_dir: Path) -> dict[str, TokenStream]:
    return {domain: read_tokens(text_dir, "test", tokenizer, domain=domain, cancel=CancelToken()) for domain in DOMAINS}


@torch.inference_mode()
def held_out_by_length(model: PreTrainedModel, streams: dict[str, TokenStream]) -> dict[tuple[str, int], float]:
    """Nats per byte of the test split's first tokens, by (domain, tokens that each sequence predicts)."""
    found = {}
    for (domain, stream), length in product(streams.items(), LENGTHS):
        windows = stream.windows(length)[: TOKENS // length]
        nats = 0.0
        for batch in windows.split(_BATCH_TOKENS // length):
            output, targets = predict(model, batch)
            nats += token_nats(output.logits, targets).double().sum().item()
        found[domain, length] = nats / (windows.shape[0] * length) * stream.ids.numel() / stream.text_bytes
    return found
