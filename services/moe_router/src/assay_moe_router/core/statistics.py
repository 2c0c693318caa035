"""Routing statistics: how often each expert was chosen, sequence by sequence."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from assay.errors import DataLoss, InvalidInput, ResourceExhausted

COUNTS = "counts.safetensors"
SUMMARY = "statistics.json"
MAX_EXPERTS, MAX_CHOICES = 4096, 2**28
MAX_LAYER_EXPERTS = 2**20
"""Experts of all layers together."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerRouting:
    """One layer.

    counts: [S, m] int64, times each expert was chosen in each sequence (before Switch's capacity cut).
    choices: [S, T, k] int32, the experts chosen by each token: what shuffles of tokens need. -1 for padding, and for
    an expert another device holds.
    weight_sums: [m] float64, sum of routing weights. dropped: [m] int64, tokens over an expert's capacity.
    masked_tokens: padding, never counted. foreign_choices: ids outside 0..m-1, which expert parallelism gives to
    experts that another device holds.
    """

    layer: int
    counts: Ints
    choices: NDArray[np.int32]
    weight_sums: Floats
    dropped: Ints
    masked_tokens: int
    foreign_choices: int = 0

    def __post_init__(self) -> None:
        field = f"layers[{self.layer}]"
        if self.counts.ndim != 2 or not self.counts.shape[1]:
            raise InvalidInput(f"{field}.counts", f"has shape {self.counts.shape}; give [sequences, experts]")
        _check_choices(self.layer, self.experts, self.choices)
        if len(self.counts) != len(self.choices):
            raise InvalidInput(
                f"{field}.counts", f"is of {len(self.counts)} sequences, choices of {len(self.choices)}; give the same"
            )
        for name in ("counts", "weight_sums", "dropped"):
            check_loads(getattr(self, name), f"{field}.{name}")
        if self.counts.dtype != np.int64:
            raise InvalidInput(f"{field}.counts", f"are {self.counts.dtype}, which loses count; give int64")
        for name in ("weight_sums", "dropped"):
            if getattr(self, name).shape != (self.experts,):
                raise InvalidInput(f"{field}.{name}", f"has shape {getattr(self, name).shape}; give [{self.experts}]")
        for name in ("masked_tokens", "foreign_choices"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{field}.{name}", f"is {getattr(self, name)}; counts are not negative")

    @classmethod
    def from_choices(
        cls,
        layer: int,
        experts: int,
        choices: NDArray[np.int32],
        *,
        weight_sums: Floats,
        dropped: Ints,
        masked_tokens: int,
        foreign_choices: int = 0,
    ) -> LayerRouting:
        """Counts what `choices` [S, T, k] says; InvalidInput for an expert id out of range."""
        _check_choices(layer, experts, choices)
        rows = choices.shape[0]
        flat = choices.reshape(rows, choices.shape[1] * choices.shape[2]).astype(np.int64)
        cells = np.where(flat >= 0, flat, experts) + np.arange(rows)[:, None] * (experts + 1)
        counts = np.bincount(cells.ravel(), minlength=rows * (experts + 1)).reshape(rows, experts + 1)[:, :experts]
        return cls(layer, counts.astype(np.int64), choices, weight_sums, dropped, masked_tokens, foreign_choices)

    @classmethod
    def concatenate(cls, parts: Sequence[LayerRouting]) -> LayerRouting:
        """The same layer over more sequences; shorter ones are filled up with "no choice"."""
        if len({(part.layer, part.experts, part.top_k) for part in parts}) != 1:
            raise InvalidInput("shards", f"of layer {parts[0].layer} differ in experts or k; they are of two models")
        longest = max(part.choices.shape[1] for part in parts)
        return cls(
            layer=parts[0].layer,
            counts=np.concatenate([part.counts for part in parts]),
            choices=np.concatenate([_filled(part.choices, longest) for part in parts]),
            weight_sums=np.sum([part.weight_sums for part in parts], axis=0),
            dropped=np.sum([part.dropped for part in parts], axis=0),
            masked_tokens=sum(part.masked_tokens for part in parts),
            foreign_choices=sum(part.foreign_choices for part in parts),
        )

    @property
    def experts(self) -> int:
        return int(self.counts.shape[1])

    @property
    def top_k(self) -> int:
        return int(self.choices.shape[2])

    @property
    def loads(self) -> Ints:
        """[m] tokens sent to each expert."""
        total: Ints = self.counts.sum(axis=0)
        return total

    @property
    def dropped_tokens(self) -> int:
        return int(self.dropped.sum())

    def window(self, start: int, stop: int) -> LayerRouting:
        """Sequences start..stop alone; sums over all of them are left out."""
        choices = self.choices[start:stop]
        zeros = np.zeros(self.experts)
        return LayerRouting.from_choices(
            self.layer, self.experts, choices, weight_sums=zeros, dropped=zeros.astype(np.int64), masked_tokens=0
        )


@dataclass(frozen=True)
class RoutingStatistics:
    """All routed layers over the same sequences."""

    layers: tuple[LayerRouting, ...]

    def __post_init__(self) -> None:
        seen = [layer.layer for layer in self.layers]
        for index, layer in enumerate(self.layers):
            if layer.layer in seen[:index]:
                raise InvalidInput(f"layers[{index}].layer", f"is {layer.layer} again; give each layer once")
            if len(layer.counts) != self.sequences:
                raise InvalidInput(
                    f"layers[{index}].counts",
                    f"is of {len(layer.counts)} sequences, the first layer's of {self.sequences}; give the same",
                )
        if (total := sum(layer.experts for layer in self.layers)) > MAX_LAYER_EXPERTS:
            raise ResourceExhausted(
                f"layers: hold {total} experts together, above the limit of {MAX_LAYER_EXPERTS}; give fewer layers",
                reason="STATISTICS_TOO_LARGE",
            )

    def layer(self, index: int) -> LayerRouting:
        """InvalidInput where the layer was not counted."""
        for layer in self.layers:
            if layer.layer == index:
                return layer
        raise InvalidInput("layer", f"{index} is not among the {len(self.layers)} counted layers; calibrate again")

    @property
    def sequences(self) -> int:
        return len(self.layers[0].counts) if self.layers else 0

    def to_files(self) -> dict[str, bytes]:
        """Files of an artifact: arrays as safetensors, and a summary for people."""
        arrays: dict[str, NDArray[np.generic]] = {}
        summary = []
        for layer in self.layers:
            arrays[f"{layer.layer}.choices"] = np.ascontiguousarray(layer.choices)
            arrays[f"{layer.layer}.weight_sums"] = layer.weight_sums
            arrays[f"{layer.layer}.dropped"] = layer.dropped
            summary.append(
                {
                    "layer": layer.layer,
                    "experts": layer.experts,
                    "top_k": layer.top_k,
                    "masked_tokens": layer.masked_tokens,
                    "foreign_choices": layer.foreign_choices,
                    "dropped_tokens": layer.dropped_tokens,
                    "expert_tokens": layer.loads.tolist(),
                }
            )
        document = {"schema_version": 1, "sequences": self.sequences, "layers": summary}
        return {COUNTS: save(arrays), SUMMARY: json.dumps(document, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> RoutingStatistics:
        """What `to_files` wrote. DataLoss where it is damaged, InvalidInput where a count is impossible."""
        try:
            arrays = load(files[COUNTS])
            document = json.load(io.BytesIO(files[SUMMARY]))
            layers = tuple(
                LayerRouting.from_choices(
                    int(entry["layer"]),
                    int(entry["experts"]),
                    arrays[f"{entry['layer']}.choices"],
                    weight_sums=arrays[f"{entry['layer']}.weight_sums"],
                    dropped=arrays[f"{entry['layer']}.dropped"],
                    masked_tokens=int(entry["masked_tokens"]),
                    foreign_choices=int(entry["foreign_choices"]),
                )
                for entry in document["layers"]
            )
        except (KeyError, ValueError, TypeError, OverflowError, SafetensorError) as error:
            raise DataLoss("routing statistics cannot be read; calibrate again") from error
        return cls(layers)

    @classmethod
    def merge(cls, parts: Sequence[RoutingStatistics]) -> RoutingStatistics:
        """Shards of one calibration, in order."""
        if not parts:
            raise InvalidInput("shards", "are none; give at least one")
        if len({tuple(layer.layer for layer in part.layers) for part in parts}) != 1:
            raise InvalidInput("shards", "have different layers; they are of different models")
        return cls(tuple(LayerRouting.concatenate(group) for group in zip(*(p.layers for p in parts), strict=True)))


def check_loads(loads: NDArray[np.generic], field: str) -> None:
    """Raises InvalidInput, naming the index, for NaN, infinite or negative loads."""
    values = np.asarray(loads, dtype=np.float64)
    for wrong, why in ((~np.isfinite(values), "loads are finite counts"), (values < 0, "loads are not negative")):
        for index in np.argwhere(wrong):
            raise InvalidInput(_element(field, index), f"is {values[tuple(index)]:g}; {why}")


def _check_choices(layer: int, experts: int, choices: NDArray[np.integer]) -> None:
    """Limits first, so that nothing is allocated for what is too large."""
    field = f"layers[{layer}].choices"
    if choices.ndim != 3 or not np.issubdtype(choices.dtype, np.integer):
        raise InvalidInput(field, f"has shape {choices.shape} of {choices.dtype}; give integers [sequences, tokens, k]")
    if experts > MAX_EXPERTS or max(choices.size, len(choices) * experts) > MAX_CHOICES:
        raise ResourceExhausted(
            f"{field}: {experts} experts or {choices.size} choices are above the limits of {MAX_EXPERTS} and "
            f"{MAX_CHOICES}; calibrate on fewer sequences",
            reason="STATISTICS_TOO_LARGE",
        )
    if choices.shape[2] > experts:
        raise InvalidInput(field, f"k is {choices.shape[2]}, above m = {experts}")
    for index in np.argwhere((choices >= experts) | (choices < -1)):
        raise InvalidInput(
            _element(field, index), f"is {choices[tuple(index)]}, no expert; ids are 0..{experts - 1}, -1 for none"
        )


def _filled(choices: NDArray[np.int32], tokens: int) -> NDArray[np.int32]:
    """[S, T, k] with T up to `tokens`."""
    missing = tokens - choices.shape[1]
    return np.pad(choices, ((0, 0), (0, missing), (0, 0)), constant_values=-1) if missing else choices


def _element(field: str, index: NDArray[np.intp]) -> str:
    return field + "".join(f"[{position}]" for position in index)
