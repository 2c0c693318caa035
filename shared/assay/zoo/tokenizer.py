"""A byte-level BPE tokenizer from a text artifact's train split: any text round-trips, none is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from assay.zoo.corpus import read_split

# One end mark serves as begin and end of a text, as in GPT-2 and Qwen; index = token id.
PAD, END = "<|pad|>", "<|endoftext|>"
PAD_ID, END_ID = 0, 1
# Merges settle early: beyond this much text the vocabulary of 2048 hardly changes, the time does.
TRAINING_CHARACTERS = 4_000_000


def train_tokenizer(text_dir: Path, *, vocabulary: int = 2048) -> Any:
    """A `PreTrainedTokenizerFast` of `vocabulary` entries at most; the same text gives the same tokenizer."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(text_dir), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=END, eos_token=END, padding_side="left"
    )


def _sample(text_dir: Path) -> list[str]:
    """Whole texts of the train split in order, until they are long enough."""
    texts, size = [], 0
    for text, _ in read_split(text_dir, "train"):
        texts.append(text)
        size += len(text)
        if size >= TRAINING_CHARACTERS:
            break
    return texts
