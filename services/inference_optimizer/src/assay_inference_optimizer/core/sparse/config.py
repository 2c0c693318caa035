"""What a caller may choose about sparse attention."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from assay.errors import InvalidInput


class Variant(StrEnum):
    """The two published versions of Sketch&Walk.

    ICML: softmax of each head's pooled sketch, summed over heads; walk started from the layer below. V1 (arXiv v1, as
    third parties rebuilt it): heads averaged before pooling, softmax to the power 8, R^k = R^(k-1) W^k.
    """

    ICML = "icml"
    V1 = "v1"


class Method(StrEnum):
    """How key blocks are chosen; all but DENSE spend the same budget, row by row.

    ONE_HOP: Sketch&Walk with degree 0, the pooled scores alone. ORACLE: exact attention mass of every block, from full
    attention. SINK_WINDOW: the first and the most recent blocks. RANDOM: seeded. DENSE: everything.
    """

    SKETCH_WALK = "sketch_walk"
    ONE_HOP = "one_hop"
    ORACLE = "oracle"
    SINK_WINDOW = "sink_window"
    RANDOM = "random"
    DENSE = "dense"


class DensityScope(StrEnum):
    """What `target_density` is a mean of: the layers that run sparse, or all layers with full causal attention."""

    SPARSE_LAYERS = "sparse_layers"
    ALL_LAYERS = "all_layers"


@dataclass(frozen=True)
class SparseConfig:
    """Settings of one sparse cache; the defaults are the ICML version's where it has one.

    block_size: tokens of a block, a power of two from 16 on. sketch_dim: coordinates kept of a rotated query or key;
    None for all of the (padded) head dimension in `icml` and at most 64 in `v1`. damping, degree: of the walk.
    sink_tokens, window_tokens: at the start and before the query, whose blocks are always kept. target_density:
    attended over causal (query, key) pairs, counted from the chosen blocks. dense_layers: first layers left dense.
    layer_densities: one a layer (1.0 is dense), in place of target_density and dense_layers; what `planning`
    finds. seed: of the sketch's signs and coordinates and of RANDOM. causal_sketch: a query block's scores depend on
    no later block; False gives the scores of the official release, whose prefill in chunks differs from one in one go.
    """

    variant: Variant = Variant.ICML
    method: Method = Method.SKETCH_WALK
    block_size: int = 64
    sketch_dim: int | None = None
    damping: float = 0.25
    degree: int = 3
    sink_tokens: int = 64
    window_tokens: int = 128
    target_density: float = 0.2
    density_scope: DensityScope = DensityScope.SPARSE_LAYERS
    dense_layers: int = 2
    layer_densities: tuple[float, ...] = ()
    seed: int = 0
    causal_sketch: bool = True

    def check(self, model_config: Any) -> None:
        """Raises InvalidInput, naming the field, for what is wrong in itself or for this model.

        model_config: a transformers config; of a multimodal model the text decoder's part counts.
        """
        self._check_itself()
        text = model_config.get_text_config(decoder=True)
        heads = int(text.num_attention_heads) if getattr(text, "num_attention_heads", None) else 0
        key_heads = int(getattr(text, "num_key_value_heads", None) or heads)
        if heads and heads % key_heads:
            raise InvalidInput(
                "model",
                f"has {heads} query heads for {key_heads} key heads, which do not divide them",
            )
        if heads and self.sketch_dim is not None and self.sketch_dim > padded_head_dim(text):
            raise InvalidInput(
                "sketch_dim", f"is {self.sketch_dim}; this model's heads allow at most {padded_head_dim(text)}"
            )
        layers = int(text.num_hidden_layers)
        if self.layer_densities and len(self.layer_densities) != layers:
            raise InvalidInput(
                "layer_densities", f"are {len(self.layer_densities)}; this model has {layers} layers, so give as many"
            )
        if self.dense_layers >= layers and not self.layer_densities and self.method is not Method.DENSE:
            raise InvalidInput(
                "dense_layers",
                f"is {self.dense_layers}, and this model has {layers} layers: none is left to run sparse; give fewer",
            )

    def to_document(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {**self.__dict__, "layer_densities": list(self.layer_densities)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> SparseConfig:
        """What `to_document` gave. ValueError or TypeError where it is damaged."""
        kinds = {"variant": Variant, "method": Method, "density_scope": DensityScope, "layer_densities": tuple}
        return cls(**{name: kinds[name](value) if name in kinds else value for name, value in document.items()})

    def sketch_dimensions(self, head_dim: int) -> int:
        """Coordinates kept for heads of this dimension."""
        padded = next_power_of_two(head_dim)
        if self.sketch_dim is not None:
            return self.sketch_dim
        return padded if self.variant is Variant.ICML else min(64, padded)

    def _check_itself(self) -> None:
        size = self.block_size
        if size < 16 or size & (size - 1):
            raise InvalidInput("block_size", f"is {size}; give a power of two from 16 on, such as 64")
        if self.sketch_dim is not None and self.sketch_dim < 1:
            raise InvalidInput("sketch_dim", f"is {self.sketch_dim}; give at least 1, or leave it out")
        if not 0 <= self.damping < 1:
            raise InvalidInput("damping", f"is {self.damping}; give 0 or more, below 1")
        if not 0 <= self.degree <= 64:
            raise InvalidInput("degree", f"is {self.degree}; give 0 (one hop) to 64")
        for name in ("sink_tokens", "window_tokens", "dense_layers", "seed"):
            if getattr(self, name) < 0:
                raise InvalidInput(name, f"is {getattr(self, name)}; give 0 or more")
        if self.seed >= 2**63:
            raise InvalidInput("seed", f"is {self.seed}; give less than 2**63")
        if not 0 < self.target_density <= 1:
            raise InvalidInput("target_density", f"is {self.target_density}; give more than 0, at most 1")
        for layer, density in enumerate(self.layer_densities):
            if not 0 < density <= 1:
                raise InvalidInput(f"layer_densities[{layer}]", f"is {density}; give more than 0, at most 1 (dense)")


def next_power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()


def padded_head_dim(text_config: Any) -> int:
    """The head dimension up to the next power of two, which the Hadamard transform needs."""
    head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads
    return next_power_of_two(int(head_dim))
