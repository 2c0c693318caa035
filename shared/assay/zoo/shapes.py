"""Named shapes of published models: sizes alone, for counting parameters and measuring speed; no weights.

A local copy of such a model's weights is loaded like any other checkpoint, by `assay.models.checkpoint.load_model`.
Sizes are those of the models' public configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import starmap
from typing import Any

from assay.errors import NotFound


@dataclass(frozen=True)
class LayerShape:
    """What of one layer differs from the others; field names are transformers'."""

    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int


@dataclass(frozen=True)
class Shape:
    """architecture: model_type of transformers; config: its settings.

    layers: where layers differ in size, one entry each; empty: all alike. parameters: of the published model, tied
    weights counted once.
    """

    name: str
    about: str
    architecture: str
    config: dict[str, Any] = field(hash=False)
    parameters: int
    layers: tuple[LayerShape, ...] = ()

    @property
    def num_layers(self) -> int:
        return int(self.config["num_hidden_layers"])


def _openelm_layers(layers: int, width: int, head_dim: int, groups: int) -> tuple[LayerShape, ...]:
    """Heads and feed-forward width that grow evenly with depth, rounded to whole groups and to 256 (arXiv:2404.14619).

    The query width goes from half the model's to all of it, the feed-forward width from half of it to four times.
    """

    def share(start: float, stop: float, layer: int) -> float:
        return round(start + (stop - start) * layer / (layers - 1), 2)

    def layer_shape(heads_share: float, feed_forward_share: float) -> LayerShape:
        heads = _nearest(width * heads_share, head_dim * groups) // head_dim
        return LayerShape(heads, heads // groups, _nearest(width * feed_forward_share, 256))

    return tuple(starmap(layer_shape, ((share(0.5, 1, layer), share(0.5, 4, layer)) for layer in range(layers))))


def _nearest(value: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, one more where that would take away over a tenth."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


_FOX_1 = {
    "hidden_size": 2048,
    "intermediate_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_GEMMA_2B = {
    "hidden_size": 2048,
    "intermediate_size": 16_384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}

_QWEN15_1_8B = {
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
}

_STABLELM_2_1_6B = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 100_352,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
    "use_qkv_bias": True,
    "tie_word_embeddings": False,
}

# transformers has no OpenELM. Its layer computes what a Qwen3 layer does (norms of queries and keys by head, grouped
# queries, gated SiLU), in sizes that differ from layer to layer.
_OPENELM_1_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 32_000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "tie_word_embeddings": True,
}

SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("fox-1-1.6b", "Llama, deep and narrow, grouped queries", "llama", _FOX_1, 1_665_271_808),
        Shape("gemma-2b", "one key-value head, wide feed-forward layers", "gemma", _GEMMA_2B, 2_506_172_416),
        Shape("qwen1.5-1.8b", "a key-value head for each query head", "qwen2", _QWEN15_1_8B, 1_836_828_672),
        Shape("stablelm-2-1.6b", "a quarter of each head rotated", "stablelm", _STABLELM_2_1_6B, 1_644_515_328),
        Shape(
            "openelm-1.1b",
            "heads and feed-forward width grow with depth; as Qwen3 layers, transformers having no OpenELM",
            "qwen3",
            _OPENELM_1_1B,
            1_079_891_456,
            _openelm_layers(28, 2048, 64, 4),
        ),
    )
}


def shape(name: str) -> Shape:
    """NotFound, naming what there is."""
    if name not in SHAPES:
        raise NotFound(f"there is no shape {name}; there are {', '.join(SHAPES)}")
    return SHAPES[name]
