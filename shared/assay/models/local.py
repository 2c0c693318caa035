"""The language-model port on a local checkpoint, with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.errors import InvalidInput, Unimplemented
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.language_model import Capabilities, Evidence, FinishReason, Generation, Score, prompt_seeds

_BATCH = 16


@dataclass
class _Answer:
    """A generation under way."""

    random: torch.Generator
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


class LocalLanguageModel:
    """A causal checkpoint in memory; not safe to share between threads that change `model`.

    dtype: of the computation, None for the stored one. Raises what `load_model` raises, and Unimplemented for an
    encoder-decoder: it has no probability for a text that nothing precedes.
    """

    def __init__(self, directory: Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> None:
        self.model: PreTrainedModel = load_model(directory, dtype=dtype, device=device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(directory)
        if self.model.config.is_encoder_decoder:
            raise Unimplemented("model: is an encoder-decoder; use a causal language model")
        self._begin: int | None = self.tokenizer.bos_token_id
        self._ends = end_ids(self.model, self.tokenizer)

    @property
    def capabilities(self) -> Capabilities:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return Capabilities(frozenset({Evidence.LOG_PROBABILITIES, Evidence.HIDDEN_STATES}), limit)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        cancel: CancelToken,
    ) -> list[Generation]:
        if max_new_tokens < 1:
            raise InvalidInput("max_new_tokens", f"is {max_new_tokens}; ask for at least 1")
        if not 0 <= temperature < float("inf"):
            raise InvalidInput("temperature", f"is {temperature}; give 0 for the likeliest tokens, or more")
        if not all(stop):
            raise InvalidInput("stop", "has an empty text, which stands everywhere; leave it out")
        ids = [self._prompt_ids(index, prompt, max_new_tokens) for index, prompt in enumerate(prompts)]
        answers = [_Answer(generator) for generator in _generators(prompts, seed)]
        with torch.inference_mode():
            for start in range(0, len(ids), _BATCH):
                chunk = slice(start, start + _BATCH)
                self._decode(ids[chunk], answers[chunk], max_new_tokens, temperature, stop, cancel)
        return [self._generation(answer, stop) for answer in answers]

    def score(self, texts: Sequence[str], *, cancel: CancelToken) -> list[Score]:
        scores = []
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                cancel.check()
                scores.extend(self._score(start, texts[start : start + _BATCH]))
        return scores

    def _prompt_ids(self, index: int, prompt: str, max_new_tokens: int) -> list[int]:
        ids = list(self.tokenizer(prompt).input_ids)
        if not ids:
            if self._begin is None:
                raise InvalidInput(f"prompts[{index}]", "is empty, and this model has no begin mark; give some text")
            ids = [self._begin]
        self._check_length(f"prompts[{index}]", len(ids) + max_new_tokens)
        return ids

    def _check_length(self, name: str, tokens: int) -> None:
        limit = self.capabilities.context_tokens
        if limit is not None and tokens > limit:
            raise InvalidInput(name, f"takes {tokens} tokens with its answer; this model reads {limit}, so shorten it")

    def _decode(
        self,
        prompts: list[list[int]],
        answers: list[_Answer],
        max_new_tokens: int,
        temperature: float,
        stop: Sequence[str],
        cancel: CancelToken,
    ) -> None:
        """Adds tokens to all answers at once, until each is finished. Prompts are padded on the left."""
        inputs, mask = _padded(prompts, self._pad, left=True)
        cache = DynamicCache(config=self.model.config)
        # Padding gets position 0 and is masked; the prompt counts from 0 whatever stands left of it.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        for _ in range(max_new_tokens):
            cancel.check()
            output = self.model(
                input_ids=inputs.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                position_ids=positions.to(self.model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[:, -1].float().cpu()  # [B, V]
            log_probabilities = torch.log_softmax(logits, dim=-1)
            chosen = [self._pad] * len(answers)
            for row, answer in enumerate(answers):
                if answer.finish_reason is None:
                    chosen[row] = _choose(logits[row], temperature, answer.random)
                    answer.tokens.append(chosen[row])
                    answer.log_probabilities.append(log_probabilities[row, chosen[row]].item())
                    answer.finish_reason = self._finish_reason(answer, max_new_tokens, stop)
            if all(answer.finish_reason is not None for answer in answers):
                return
            inputs = torch.tensor(chosen)[:, None]
            mask = torch.cat([mask, torch.ones_like(inputs)], dim=1)
            positions = positions[:, -1:] + 1

    def _finish_reason(self, answer: _Answer, max_new_tokens: int, stop: Sequence[str]) -> FinishReason | None:
        if answer.tokens[-1] in self._ends:
            return FinishReason.END
        if stop and _first_stop(self._text(answer.tokens), stop) is not None:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(answer.tokens) == max_new_tokens else None

    def _generation(self, answer: _Answer, stop: Sequence[str]) -> Generation:
        assert answer.finish_reason is not None
        ended = answer.finish_reason is FinishReason.END
        text = self._text(answer.tokens[:-1] if ended else answer.tokens)
        cut = _first_stop(text, stop) if answer.finish_reason is FinishReason.STOP else None
        return Generation(text[:cut], tuple(answer.tokens), tuple(answer.log_probabilities), answer.finish_reason)

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _score(self, first: int, texts: Sequence[str]) -> list[Score]:
        encoded = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        prefix = [] if self._begin is None else [self._begin]
        ids = [prefix + list(row) for row in encoded.input_ids]
        for index, row in enumerate(ids):
            if len(row) == len(prefix):
                raise InvalidInput(f"texts[{first + index}]", "is empty; leave it out")
            self._check_length(f"texts[{first + index}]", len(row))
        # Padding on the right: no token attends to what follows it.
        inputs, mask = _padded(ids, self._pad, left=False)
        device = self.model.device
        logits = self.model(input_ids=inputs.to(device), attention_mask=mask.to(device), use_cache=False).logits
        nats = torch.log_softmax(logits[:, :-1].float(), dim=-1)
        nats = nats.gather(2, inputs[:, 1:, None].to(device))[:, :, 0].cpu()  # [B, T - 1]
        scores = []
        for index, text in enumerate(texts):
            known = nats[index, : len(ids[index]) - 1].tolist()
            offsets = _byte_offsets(text, encoded.offset_mapping[index])
            scores.append(Score(tuple(encoded.input_ids[index]), tuple(known if prefix else [None, *known]), offsets))
        return scores

    @property
    def _pad(self) -> int:
        """Any token will do: it is masked."""
        pad: int | None = self.tokenizer.pad_token_id
        return 0 if pad is None else pad


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end an answer, by the model's generation settings and by its tokenizer."""
    ends: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if value is not None:
            ends |= {value} if isinstance(value, int) else set(value)
    return frozenset(ends)


def _generators(prompts: Sequence[str], seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(own) for own in prompt_seeds(prompts, seed)]


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> int:
    """logits: [V] float32."""
    if temperature == 0:
        return int(logits.argmax())
    # Subtracting the maximum first keeps a tiny temperature from overflowing to inf - inf.
    probabilities = torch.softmax((logits - logits.max()).double() / temperature, dim=-1)
    return int(torch.multinomial(probabilities, 1, generator=random))


def _padded(rows: list[list[int]], pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """[B, T] int64 ids and the mask that is 1 where they are no padding."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the earliest of the stop texts begins."""
    return min((found for found in map(text.find, stop) if found >= 0), default=None)


def _byte_offsets(text: str, spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    starts = list(accumulate((len(character.encode()) for character in text), initial=0))
    return tuple((starts[first], starts[last]) for first, last in spans)
