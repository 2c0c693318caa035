"""What one layer of each published shape takes, and one token through its output head; never multiplied up."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from assay.zoo.build_shape import build_shape
from assay.zoo.shapes import SHAPES, Shape

PROMPT, ROUNDS = 512, 5
# Embedding and head are measured by themselves, so that the layers' models need none of their memory.
SMALL_VOCABULARY = 64


def layer_speeds() -> list[dict[str, Any]]:
    """One row a layer: the first of each shape, the last too where layers differ; then the shape's head.

    Rounds of all shapes are interleaved in time only within a row: rows are medians of ROUNDS.
    """
    rows = []
    for shape in SHAPES.values():
        for index in sorted({0, shape.num_layers - 1}) if shape.layers else [0]:
            rows.append(_layer(shape, index))
            gc.collect()
        rows.append(_head(shape))
        gc.collect()
    return rows


def _layer(shape: Shape, index: int) -> dict[str, Any]:
    one = {"num_hidden_layers": 1, "vocab_size": SMALL_VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
    layers = (shape.layers[index],) if shape.layers else ()
    model = build_shape(replace(shape, config={**shape.config, **one}, layers=layers))
    ids = torch.randint(SMALL_VOCABULARY, (1, PROMPT))
    prefill, decode = [], []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            cache = DynamicCache(config=model.config)
            prefill.append(_ms(model, ids, cache))
            decode.append(statistics.median(_ms(model, ids[:, :1], cache) for _ in range(5)))
    attention = model.model.layers[0].self_attn
    return {
        "shape": shape.name,
        "layer": f"{index + 1} of {shape.num_layers}" if shape.layers else f"each of {shape.num_layers}",
        "parameters": sum(parameter.numel() for parameter in model.model.layers[0].parameters()),
        "prefill_ms": statistics.median(prefill),
        "decode_ms": statistics.median(decode),
        "kv_bytes_per_token": 2 * (attention.k_proj.weight.shape[0] + attention.v_proj.weight.shape[0]),
    }


def _head(shape: Shape) -> dict[str, Any]:
    width, vocabulary = shape.config["hidden_size"], shape.config["vocab_size"]
    head = nn.Linear(width, vocabulary, bias=False)
    state = torch.randn(1, 1, width)
    with torch.inference_mode():
        head(state)
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            head(state)
            times.append(1000 * (time.perf_counter() - begun))
    took = statistics.median(times)
    return {
        "shape": shape.name,
        "layer": "head",
        "parameters": head.weight.numel(),
        "prefill_ms": took,
        "decode_ms": took,
        "kv_bytes_per_token": 0,
    }


def _ms(model: PreTrainedModel, ids: torch.Tensor, cache: DynamicCache) -> float:
    begun = time.perf_counter()
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return 1000 * (time.perf_counter() - begun)
