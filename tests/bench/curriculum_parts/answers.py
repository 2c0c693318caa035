"""How well a model predicts the answers of held-out instructions."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.models.predict import predict, token_nats
from assay.zoo.instruct import instruct_batch, instructions
from assay.zoo.passages import read_passages

SEQUENCES, TOKENS, BATCH = 64, 257, 16
CANCEL = CancelToken()


def answer_nats(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text_dir: Path) -> float:
    """Mean cross-entropy of answers' tokens in nats, on the same sequences of the test split each time."""
    passages = list(read_passages(text_dir, "test", cancel=CANCEL))
    pairs = instructions(passages, tokenizer, cancel=CANCEL)
    windows, answered = instruct_batch(pairs, SEQUENCES, TOKENS, torch.Generator().manual_seed(0))
    total = 0.0
    with torch.inference_mode():
        for start in range(0, SEQUENCES, BATCH):
            output, targets = predict(model, windows[start : start + BATCH])
            nats = token_nats(output.logits, targets)
            total += nats[answered[start : start + BATCH]].double().sum().item()
    return total / int(answered.sum())
