"""What a mixture-of-experts model is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import InvalidInput
from assay_moe_router.core.sites import Site, find_sites

SHARED = ("shared_experts", "shared_expert", "shared_mlp")
SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")


@dataclass(frozen=True)
class MoeLayer:
    """One layer of routed experts.

    experts: m in the paper. top_k: k. capacity: tokens an expert takes at most per sequence (Switch), 0 for no
    limit. layout: "fused" (3-D parameters) or "modules"; the flags say how the fused parameters are stored. dtype: of
    the matrices.
    matrix_names, matrices: an expert's matrices as (rows, columns), rows being outputs however they are stored;
    vector_values: values of its biases and norms.
    """

    layer: int
    experts: int
    top_k: int
    shared_experts: int
    bytes_per_expert: int
    dtype: str
    capacity: int
    layout: str
    transposed: bool
    interleaved: bool
    biased: bool
    matrix_names: tuple[str, ...]
    matrices: tuple[tuple[int, int], ...]
    vector_values: int


@dataclass(frozen=True)
class ModelLayout:
    """bytes: of all tensors as they are stored, tied ones once; expert_parameters: of routed experts alone."""

    model_class: str
    model_type: str
    layers: tuple[MoeLayer, ...]
    dense_layers: tuple[int, ...]
    parameters: int
    expert_parameters: int
    bytes: int

    def layer(self, index: int) -> MoeLayer:
        """InvalidInput where the layer has no routed experts."""
        for layer in self.layers:
            if layer.layer == index:
                return layer
        raise InvalidInput("layer", f"{index} has no routed experts; there are {[one.layer for one in self.layers]}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelLayout:
        """What `to_json` gave; KeyError, TypeError or ValueError where it is something else."""
        layers = tuple(
            MoeLayer(
                **{
                    **layer,
                    "matrix_names": tuple(layer["matrix_names"]),
                    "matrices": tuple((int(rows), int(columns)) for rows, columns in layer["matrices"]),
                }
            )
            for layer in document["layers"]
        )
        if any(len(layer.matrix_names) != len(layer.matrices) for layer in layers):
            raise ValueError("a layer names other matrices than it measures")
        return cls(**{**document, "layers": layers, "dense_layers": tuple(document["dense_layers"])})

    @property
    def expert_bytes(self) -> int:
        """Bytes of all routed experts."""
        return sum(layer.experts * layer.bytes_per_expert for layer in self.layers)


def describe(model: PreTrainedModel) -> ModelLayout:
    """Reads the layout off the modules. Call it on the model in its stored type. Raises Unimplemented."""
    sites = find_sites(model)
    tensors = unique_tensors(model)
    layers = tuple(_layer(model, site) for site in sites)
    config = model.config.get_text_config()
    blocks = int(getattr(config, "num_hidden_layers", 0) or 0)
    if model.config.is_encoder_decoder:
        blocks = int(config.num_layers) + int(config.num_decoder_layers)
    routed = {site.layer for site in sites}
    return ModelLayout(
        model_class=type(model).__name__,
        model_type=str(model.config.model_type),
        layers=layers,
        dense_layers=tuple(index for index in range(blocks) if index not in routed),
        parameters=sum(value.numel() for value in tensors.values()),
        expert_parameters=sum(
            value.numel() for site in sites for e in range(site.experts) for value in site.weights(e).values()
        ),
        bytes=sum(value.numel() * value.element_size() for value in tensors.values()),
    )


def unique_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; of tied ones the first."""
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    unique = {}
    for name, value in model.state_dict().items():
        place = (value.data_ptr(), value.storage_offset(), tuple(value.shape))
        if place not in seen or value.numel() == 0:
            seen.add(place)
            unique[name] = value
    return unique


def _layer(model: PreTrainedModel, site: Site) -> MoeLayer:
    weights = site.weights(0)
    module, config = site.module, model.config.get_text_config()
    return MoeLayer(
        layer=site.layer,
        experts=site.experts,
        top_k=site.top_k,
        shared_experts=_shared_experts(model, site),
        bytes_per_expert=sum(value.numel() * value.element_size() for value in weights.values()),
        dtype=str(weights[site.matrices()[0]].dtype).removeprefix("torch."),
        capacity=int(config.expert_capacity) if site.switch else 0,
        layout="modules" if site.switch else "fused",
        transposed=site.transposed,
        interleaved=not getattr(module, "is_concatenated", True),
        biased=bool(getattr(module, "has_bias", False)),
        matrix_names=site.matrices(),
        matrices=tuple(_shape(weights[name], site.transposed) for name in site.matrices()),
        vector_values=sum(value.numel() for value in weights.values() if value.ndim != 2),
    )


def _shared_experts(model: PreTrainedModel, site: Site) -> int:
    """Experts beside the routed ones; Granite keeps them a level above the experts' own block."""
    block = site.path.rpartition(".")[0]
    owners = [model.get_submodule(path) for path in (block, block.rpartition(".")[0])]
    if not any(getattr(owner, name, None) is not None for owner in owners for name in SHARED):
        return 0
    config = model.config.get_text_config()
    return next((int(count) for name in SHARED_COUNTS if (count := getattr(config, name, None))), 1)


def _shape(matrix: Tensor, transposed: bool) -> tuple[int, int]:
    rows, columns = matrix.shape
    return (columns, rows) if transposed else (rows, columns)
