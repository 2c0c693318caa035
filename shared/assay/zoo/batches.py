"""What each step trains on: the stage's source, read once and drawn from by the step's own generator."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.zoo.instruct import Instruction, instruct_batch, instructions
from assay.zoo.passages import read_passages, tokenised
from assay.zoo.recall_task import recall_batch
from assay.zoo.recall_words import NOISE_ID, SYMBOL_ID
from assay.zoo.recipe import Recipe, Stage
from assay.zoo.repeats import copies_batch, repeats_batch
from assay.zoo.tokenizer import END_ID
from assay.zoo.tokens import TokenStream, read_tokens


class Batches:
    """Sequences of one text artifact's split; what no stage asks for is not read. Raises Cancelled while reading."""

    def __init__(self, recipe: Recipe, text_dir: Path, split: str, tokenizer: Any, *, cancel: CancelToken) -> None:
        self._recipe = recipe
        self._text_dir = text_dir
        self._split = split
        self._tokenizer = tokenizer
        self._cancel = cancel
        self._domains: dict[str, TokenStream] = {}

    @cached_property
    def stream(self) -> TokenStream:
        """The whole split."""
        return read_tokens(self._text_dir, self._split, self._tokenizer, cancel=self._cancel)

    @cached_property
    def passages(self) -> list[list[int]]:
        return tokenised(self._passages, self._tokenizer, cancel=self._cancel)

    def draw(self, stage: Stage, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """(windows [batch, tokens] int64, which of the predicted tokens are learned [batch, predicted]; None: all).

        Raises InvalidInput for a mix of domains that the text does not have.
        """
        tokens = stage.sequence_length + (0 if self._recipe.encoder_decoder else 1)
        match stage.source:
            case "text" if stage.mix:
                return self._mixed(stage, tokens, generator), None
            case "text":
                return self.stream.random_windows(stage.batch, tokens, generator), None
            case "repeats":
                return repeats_batch(self.passages, stage.batch, tokens, generator).ids, None
            case "copies":
                return copies_batch(stage.batch, tokens, *self._symbols(), generator, skew=stage.skew)
            case "recall":
                batch = recall_batch(
                    stage.batch, stage.pairs, tokens, generator, hops=stage.hops, restated=stage.restated
                )
                return batch.ids, batch.answers
            case "instruct":
                return instruct_batch(self._instructions, stage.batch, tokens, generator)

    @cached_property
    def _passages(self) -> list[str]:
        return list(read_passages(self._text_dir, self._split, cancel=self._cancel))

    @cached_property
    def _instructions(self) -> list[Instruction]:
        return instructions(self._passages, self._tokenizer, cancel=self._cancel)

    def _symbols(self) -> tuple[int, int]:
        """First and one past the last of the tokens to copy: the keys and values where recall is the task."""
        if self._recipe.source == "recall":
            return SYMBOL_ID, NOISE_ID
        return END_ID + 1, self._recipe.vocabulary

    def _mixed(self, stage: Stage, tokens: int, generator: torch.Generator) -> Tensor:
        shares = torch.tensor([share for _, share in stage.mix])
        drawn = torch.multinomial(shares, stage.batch, replacement=True, generator=generator)
        parts = [
            self._domain(domain).random_windows(int(count), tokens, generator)
            for (domain, _), count in zip(stage.mix, drawn.bincount(minlength=len(stage.mix)), strict=True)
            if count
        ]
        return torch.cat(parts)

    def _domain(self, domain: str) -> TokenStream:
        if domain not in self._domains:
            stream = read_tokens(self._text_dir, self._split, self._tokenizer, domain=domain, cancel=self._cancel)
            if not stream.ids.numel():
                raise InvalidInput(
                    "text", f"has no {domain} in its {self._split} split, which {self._recipe.name} needs"
                )
            self._domains[domain] = stream
        return self._domains[domain]
