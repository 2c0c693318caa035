"""How much each expert matters: scores under one metric, and their artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from assay.errors import DataLoss, InvalidInput
from assay_moe_router.core.statistics import Floats

SCORES = "importance.safetensors"
SUMMARY = "importance.json"


class Metric(Enum):
    """LEAVE_ONE_OUT_*: the paper's. The others need one pass over the text instead of one an expert."""

    LEAVE_ONE_OUT_LOSS = "leave-one-out-loss"
    LEAVE_ONE_OUT_ACCURACY = "leave-one-out-accuracy"
    ACTIVATION_NORM = "activation-norm"
    WANDA_ROW = "wanda-row"
    FREQUENCY = "frequency"

    @property
    def leaves_out(self) -> bool:
        return self in (Metric.LEAVE_ONE_OUT_LOSS, Metric.LEAVE_ONE_OUT_ACCURACY)


@dataclass(frozen=True)
class LayerScores:
    """experts: [E] ids scored. scores: [E] float64, larger matters more.

    per_sequence: [E, S] whose mean over sequences is the score, where the metric is such a mean; else None.
    """

    layer: int
    experts: tuple[int, ...]
    scores: Floats
    per_sequence: Floats | None = None

    def __post_init__(self) -> None:
        field, count = f"layers[{self.layer}].importance", len(self.experts)
        if self.scores.shape != (count,):
            raise InvalidInput(field, f"has shape {self.scores.shape} for {count} experts; give one score each")
        if self.per_sequence is not None and (self.per_sequence.ndim != 2 or len(self.per_sequence) != count):
            raise InvalidInput(field, f"by sequence has shape {self.per_sequence.shape}; give [{count}, sequences]")
        for expert in np.flatnonzero(~np.isfinite(self.scores)):
            raise InvalidInput(
                f"{field}[{self.experts[expert]}]", f"is {self.scores[expert]:g}; check the model's weights"
            )


@dataclass(frozen=True)
class Importance:
    """Scores of all experts of all routed layers under one metric."""

    metric: Metric
    layers: tuple[LayerScores, ...]

    def layer(self, index: int) -> LayerScores:
        """InvalidInput where the layer was not scored."""
        for layer in self.layers:
            if layer.layer == index:
                return layer
        raise InvalidInput("importance", f"says nothing of layer {index}; score the model that was calibrated")

    def to_files(self) -> dict[str, bytes]:
        """Files of an artifact: arrays as safetensors, and a summary for people."""
        arrays: dict[str, NDArray[np.generic]] = {}
        summary = []
        for layer in self.layers:
            arrays[f"{layer.layer}.experts"] = np.asarray(layer.experts, dtype=np.int64)
            arrays[f"{layer.layer}.scores"] = layer.scores
            if layer.per_sequence is not None:
                arrays[f"{layer.layer}.per_sequence"] = np.ascontiguousarray(layer.per_sequence)
            summary.append(
                {"layer": layer.layer, "experts": list(layer.experts), "importance": [float(s) for s in layer.scores]}
            )
        document = {"schema_version": 1, "metric": self.metric.value, "layers": summary}
        return {SCORES: save(arrays), SUMMARY: json.dumps(document, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Importance:
        """What `to_files` wrote; DataLoss where it is damaged."""
        try:
            arrays, document = load(files[SCORES]), json.loads(files[SUMMARY])
            return cls(
                Metric(document["metric"]),
                tuple(
                    LayerScores(
                        int(entry["layer"]),
                        tuple(int(e) for e in arrays[f"{entry['layer']}.experts"]),
                        arrays[f"{entry['layer']}.scores"],
                        arrays.get(f"{entry['layer']}.per_sequence"),
                    )
                    for entry in document["layers"]
                ),
            )
        except (KeyError, ValueError, TypeError, SafetensorError) as error:
            raise DataLoss("importance scores cannot be read; score the experts again") from error

    @classmethod
    def merge(cls, parts: Sequence[Importance]) -> Importance:
        """Shards over experts of one scoring, in any order. InvalidInput where they overlap or are of two metrics."""
        if len({part.metric for part in parts}) != 1:
            raise InvalidInput("shards", "are none, or of several metrics; score again")
        layers = []
        for index in sorted({layer.layer for part in parts for layer in part.layers}):
            pieces = [layer for part in parts for layer in part.layers if layer.layer == index]
            experts = np.array([expert for piece in pieces for expert in piece.experts])
            if len(set(experts.tolist())) != len(experts):
                raise InvalidInput("shards", f"score an expert of layer {index} twice")
            known = [piece.per_sequence for piece in pieces if piece.per_sequence is not None]
            if len({part.shape[1] for part in known}) > 1:
                raise InvalidInput("shards", f"score layer {index} on different numbers of sequences; score again")
            order = np.argsort(experts)
            layers.append(
                LayerScores(
                    index,
                    tuple(experts[order].tolist()),
                    np.concatenate([piece.scores for piece in pieces])[order],
                    np.concatenate(known)[order] if len(known) == len(pieces) else None,
                )
            )
        return cls(parts[0].metric, tuple(layers))
