"""How well a model predicts the answers of held-out instructions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.models.predict import predict, token_nats
from assay.zoo.instruct import instruct_batch, instructions
from assay.zoo.passages import read_passages

SEQUENCES, TOKENS, BATCH = 64, 257, 16
CANCEL = CancelToken()


def held_out_instructions(tokenizer: PreTrainedTokenizerBase, text_dir: Path) -> tuple[Tensor, Tensor]:
    """(ids [SEQUENCES, TOKENS], which predicted tokens belong to an answer), of the test split, the same each time."""
    passages = list(read_passages(text_dir, "test", cancel=CANCEL))
    pairs = instructions(passages, tokenizer, cancel=CANCEL)
    return instruct_batch(pairs, SEQUENCES, TOKENS, torch.Generator().manual_seed(0))


@torch.inference_mode()
def answer_nats(model: PreTrainedModel, windows: Tensor, answered: Tensor) -> float:
    """Mean cross-entropy of answers' tokens in nats."""
    total = 0.0
    for batch, learned in zip(windows.split(BATCH), answered.split(BATCH), strict=True):
        output, targets = predict(model, batch)
        total += token_nats(output.logits, targets)[learned].double().sum().item()
    return total / int(answered.sum())
