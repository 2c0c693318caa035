"""Kinds of tokens."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from assay_inference_optimizer.core.early_exit.token_classes import token_classes

# Byte-level pieces: Ġ is a space, Ċ a line end.
PIECES = {
    "<|end|>": "other", "Ġ": "whitespace", "ĊĠĠ": "whitespace", "(": "punctuation", "Ġ==": "punctuation", "7": "digit",
    "Ġ12": "digit", "Ġself": "word start", "Ġ_name": "word start", "Ċdef": "word start", "ing": "word continuation",
    "_x": "word continuation", "Ã": "other",
}  # fmt: skip


def test_a_piece_counts_as_its_first_visible_character() -> None:
    pieces = Tokenizer(models.BPE({piece: index for index, piece in enumerate(PIECES)}, []))
    pieces.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|end|>")
    found = token_classes(tokenizer, vocabulary=15)  # the head is padded by two
    assert [found.names[index] for index in found.of] == [*PIECES.values(), "other", "other"]
