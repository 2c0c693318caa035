"""Speed and memory of published shapes beside Fox-1's, in bfloat16 with random weights.

Times are of LAYERS layers and of the head by themselves, scaled to the shape's number of layers; where layers differ,
those from the middle of each stretch stand for it. All shapes are measured in turns, round by round, by the processor
time of one thread. Bytes are the whole model's, counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.initialization import no_init_weights

from assay.zoo.build_shape import build_shape
from assay.zoo.shapes import SHAPES, Shape

LAYERS, PROMPT, ANSWER, ROUNDS = 4, 128, 2, 5
DTYPE = torch.bfloat16
IDS = 1000  # prompts' ids are below: every vocabulary has them
BLOCK = 2**20


@dataclass(frozen=True)
class ShapeSpeed:
    """prefill_s, decode_s: seconds of a whole model's prompt and of one token after it, scaled, one a round.

    weight_bytes: of parameters, tied ones once. cache_bytes: of keys and values, a token.
    """

    shape: str
    parameters: int
    weight_bytes: int
    cache_bytes: int
    prefill_s: list[float]
    decode_s: list[float]

    def ratios(self, first: ShapeSpeed) -> tuple[list[float], list[float]]:
        """(prefill, decode): the first's time over this one's in the same round; above 1 this one is the faster."""
        pairs = ((first.prefill_s, self.prefill_s), (first.decode_s, self.decode_s))
        prefill, decode = ([its / ours for its, ours in zip(*pair, strict=True)] for pair in pairs)
        return prefill, decode

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def shape_speeds() -> list[ShapeSpeed]:
    """In the order of SHAPES."""
    models = {name: _built(_short(shape)) for name, shape in SHAPES.items()}
    rounds = [{name: _times(model, SHAPES[name].num_layers) for name, model in models.items()} for _ in range(ROUNDS)]
    return [_speed(name, [each[name] for each in rounds]) for name in SHAPES]


def _short(shape: Shape) -> Shape:
    """The same with LAYERS layers."""
    stretch = shape.num_layers / LAYERS
    layers = tuple(shape.layers[int((index + 0.5) * stretch)] for index in range(LAYERS)) if shape.layers else ()
    return replace(shape, config={**shape.config, "num_hidden_layers": LAYERS}, layers=layers)


def _built(shape: Shape) -> PreTrainedModel:
    """Weights repeat one block of random numbers: drawing each by itself would take longer than all measurements."""
    with no_init_weights():
        model = build_shape(shape, dtype=DTYPE)
    block = 0.02 * torch.randn(BLOCK, dtype=DTYPE)
    with torch.no_grad():
        for parameter in model.parameters():
            for part in parameter.view(-1).split(BLOCK):
                part.copy_(block[: len(part)])
    _times(model, LAYERS)
    return model


@torch.inference_mode()
def _times(model: PreTrainedModel, layers: int) -> tuple[float, float]:
    """Seconds of processor time (prompt, one token after it), the head on one token in both, for so many layers."""
    ids = torch.randint(IDS, (1, PROMPT))
    cache = DynamicCache(config=model.config)
    prefill, state = _seconds(lambda: model.model(input_ids=ids, past_key_values=cache, use_cache=True))
    decode = [
        _seconds(lambda: model.model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True))[0]
        for _ in range(ANSWER)
    ]
    last = state.last_hidden_state[:, -1:]
    head = statistics.median(_seconds(lambda: model.lm_head(last))[0] for _ in range(ANSWER))
    scale = layers / LAYERS
    return head + scale * prefill, head + scale * statistics.median(decode)


def _seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    found = run()
    return time.process_time() - begun, found


def _speed(name: str, rounds: list[tuple[float, float]]) -> ShapeSpeed:
    whole = build_shape(SHAPES[name], dtype=DTYPE, device="meta")
    parameters = sum(each.numel() for each in whole.parameters())
    attentions = [layer.self_attn for layer in whole.model.layers]
    width = sum(each.k_proj.out_features + each.v_proj.out_features for each in attentions)
    prefill, decode = ([each[part] for each in rounds] for part in (0, 1))
    return ShapeSpeed(name, parameters, parameters * DTYPE.itemsize, width * DTYPE.itemsize, prefill, decode)
