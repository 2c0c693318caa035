"""Speed and memory of whole models of published shapes beside Fox-1's, in bfloat16 with random weights.

Fox-1 stays loaded and each of the others is measured in turns with it, round by round: only their ratios are free of
what else the machine does. At most two models are held at a time.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from assay.zoo.build_shape import build_shape
from assay.zoo.shapes import SHAPES, Shape

FIRST = "fox-1-1.6b"
PROMPT, ANSWER, ROUNDS = 128, 4, 3
IDS = 1000  # prompts' ids are below: every vocabulary has them


@dataclass(frozen=True)
class ShapeSpeed:
    """prefill, decode: tokens a second, medians over rounds. *_ratios: Fox-1's time over this shape's, one a round;
    above 1 this shape is the faster one. weight_bytes: of parameters, tied ones once; cache_bytes: of keys and values,
    a token."""

    shape: str
    parameters: int
    weight_bytes: int
    cache_bytes: int
    prefill: float
    decode: float
    prefill_ratios: list[float]
    decode_ratios: list[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Times:
    prefill_s: float
    decode_s: float
    cache_bytes: int


def shape_speeds() -> Iterator[ShapeSpeed]:
    """Fox-1 against itself first: what a ratio of 1 looks like on this machine."""
    fox = _built(SHAPES[FIRST])
    yield _beside(fox, fox, FIRST)
    for name, shape in SHAPES.items():
        if name != FIRST:
            other = _built(shape)
            yield _beside(fox, other, name)
            del other
            gc.collect()


def _built(shape: Shape) -> PreTrainedModel:
    model = build_shape(shape, dtype=torch.bfloat16)
    _times(model, 8)
    return model


def _beside(fox: PreTrainedModel, other: PreTrainedModel, name: str) -> ShapeSpeed:
    rounds = [(_times(fox, PROMPT), _times(other, PROMPT)) for _ in range(ROUNDS)]
    parameters = list(other.parameters())
    return ShapeSpeed(
        name,
        sum(each.numel() for each in parameters),
        sum(each.numel() * each.element_size() for each in parameters),
        rounds[0][1].cache_bytes,
        PROMPT / statistics.median(its.prefill_s for _, its in rounds),
        1 / statistics.median(its.decode_s for _, its in rounds),
        [foxs.prefill_s / its.prefill_s for foxs, its in rounds],
        [foxs.decode_s / its.decode_s for foxs, its in rounds],
    )


@torch.inference_mode()
def _times(model: PreTrainedModel, prompt: int) -> _Times:
    """A prompt read, then tokens one by one; each with the head on the last token."""
    ids = torch.randint(IDS, (1, prompt))
    cache = DynamicCache(config=model.config)
    prefill = _seconds(model, ids, cache)
    held = sum(each.numel() * each.element_size() for layer in cache.layers for each in (layer.keys, layer.values))
    decode = statistics.median(_seconds(model, ids[:, :1], cache) for _ in range(ANSWER))
    return _Times(prefill, decode, held // prompt)


def _seconds(model: PreTrainedModel, ids: torch.Tensor, cache: DynamicCache) -> float:
    begun = time.perf_counter()
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return time.perf_counter() - begun
