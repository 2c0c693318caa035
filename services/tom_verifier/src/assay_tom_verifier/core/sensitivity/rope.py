"""What rotary position encoding does in each head: frequencies that carry most, angles, and the first token's pull.

Pair j of a head's d dimensions turns by base^(-2j/d) radians a position (RoFormer, arXiv:2104.09864, equation 15). A
pair's norm does not change as it turns, so norms of queries and keys after the rotation are those before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput, Unimplemented
from assay_tom_verifier.core.sensitivity.attention_record import recording

Floats = NDArray[np.float64]
DOCUMENT = "rope.json"
# transformers pairs dimension j with j + d/2, but for these, which pair neighbours as the paper writes it.
_NEIGHBOURS = frozenset({"cohere", "cohere2", "glm", "glm4", "gptj", "codegen", "helium", "ernie4_5", "llama4_text"})
# Queries and keys whose rotated part stands beside one that is not, at a place of its own.
_SPLIT = frozenset({"deepseek_v2", "deepseek_v3"})


@dataclass(frozen=True)
class RopeAnalysis:
    """Means over positions of all texts; [L, H] by layer and head, [L, H, P] by rotary pair, fastest first.

    rotary: by layer, whether it rotates at all. frequencies: [P] radians a position. query_norms, key_norms: of pairs.
    angle: of query to key, over all earlier positions, in radians. first_angle: of query to the first token's key;
    first_attention: share of attention on it; both from the second position on.
    """

    rotary: tuple[bool, ...]
    frequencies: Floats
    query_norms: Floats
    key_norms: Floats
    angle: Floats
    first_angle: Floats
    first_attention: Floats

    @property
    def dominant(self) -> NDArray[np.int64]:
        """[L, H] the pair of largest mean query norm."""
        return np.asarray(self.query_norms.argmax(-1))

    def to_json(self) -> bytes:
        document: dict[str, Any] = {"schema_version": 1, "rotary": list(self.rotary)}
        for name in _ARRAYS:
            document[name] = np.asarray(getattr(self, name)).tolist()
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RopeAnalysis:
        """What `to_json` wrote; DataLoss where it is damaged."""
        try:
            document = json.loads(data)
            arrays = {name: np.array(document[name], dtype=np.float64) for name in _ARRAYS}
            return cls(tuple(map(bool, document["rotary"])), **arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise DataLoss("the analysis cannot be read; analyse the model again") from error


_ARRAYS = ("frequencies", "query_norms", "key_norms", "angle", "first_angle", "first_attention")


@dataclass(frozen=True)
class RopeChange:
    """What a perturbation does, means over heads of the layers that rotate (of all, where none does).

    dominant_norm: |change| of the query's norm at the pair that was dominant before, over that norm; other_norm: the
    same, mean over the other pairs; moved: share of heads whose dominant pair is another one. angle, first_angle:
    |change| in radians. first_attention: signed change of the share.
    """

    dominant_norm: float
    other_norm: float
    moved: float
    angle: float
    first_angle: float
    first_attention: float


def analyze_rope(model: PreTrainedModel, texts: Sequence[Sequence[int]], *, cancel: CancelToken) -> RopeAnalysis:
    """texts: token ids of each, two tokens at least, the begin mark first. Unimplemented where heads split in two."""
    if not texts or min(map(len, texts)) < 2:
        raise InvalidInput("texts", "are none, or have one of a single token; give two tokens at least")
    if model.config.model_type in _SPLIT:
        raise Unimplemented(f"model: heads of {model.config.model_type} rotate in part; use another architecture")
    pairs = _Pairs(model)
    sums = _Sums(pairs)
    with torch.inference_mode(), recording(model, sums.add):
        for ids in texts:
            cancel.check()
            model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
    return sums.analysis(_rotary_layers(model, sums.layers))


def rope_change(before: RopeAnalysis, after: RopeAnalysis) -> RopeChange:
    """Both of the same texts."""
    rows = np.flatnonzero(before.rotary) if any(before.rotary) else np.arange(len(before.rotary))
    norms = before.query_norms[rows]
    relative = np.abs(after.query_norms[rows] - norms) / norms
    at = before.dominant[rows][..., None]
    dominant = np.take_along_axis(relative, at, -1)[..., 0]
    others = (relative.sum(-1) - dominant) / (relative.shape[-1] - 1)
    return RopeChange(
        float(dominant.mean()),
        float(others.mean()),
        float((after.dominant[rows] != before.dominant[rows]).mean()),
        float(np.abs(after.angle - before.angle)[rows].mean()),
        float(np.abs(after.first_angle - before.first_angle)[rows].mean()),
        float((after.first_attention - before.first_attention)[rows].mean()),
    )


class _Pairs:
    """Which dimensions of a head turn together, and how fast."""

    def __init__(self, model: PreTrainedModel) -> None:
        config: Any = model.config
        heads = config.num_attention_heads
        self.dimensions = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        parameters: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
        turned = int(self.dimensions * float(parameters.get("partial_rotary_factor", 1.0)))
        index = torch.arange(turned // 2)
        if config.model_type in _NEIGHBOURS:
            self.first, self.second = 2 * index, 2 * index + 1
        else:
            self.first, self.second = index, index + turned // 2
        base = float(parameters.get("rope_theta", 10_000.0))
        self.frequencies = base ** (-2 * index.double().numpy() / turned)

    def norms(self, vectors: Tensor) -> Tensor:
        """[H, T, d] to [H, P], summed over positions."""
        return torch.hypot(vectors[..., self.first], vectors[..., self.second]).double().sum(1)


class _Sums:
    """Sums over positions, by layer."""

    def __init__(self, pairs: _Pairs) -> None:
        self._pairs = pairs
        self._sums: dict[int, list[Tensor]] = {}
        self._positions: dict[int, tuple[int, int, int]] = {}

    @property
    def layers(self) -> int:
        return len(self._sums)

    def add(self, layer: int, query: Tensor, key: Tensor, attention: Tensor) -> None:
        tokens = query.shape[1]
        cosine = torch.nn.functional.normalize(query, dim=-1) @ torch.nn.functional.normalize(key, dim=-1).mT
        angles = torch.arccos(cosine.clamp(-1, 1)).double()
        earlier = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril(-1)
        parts = [
            self._pairs.norms(query),
            self._pairs.norms(key),
            angles[:, earlier].sum(1),
            angles[:, 1:, 0].sum(1),
            attention[:, 1:, 0].double().sum(1),
        ]
        counts = (tokens, tokens * (tokens - 1) // 2, tokens - 1)
        if layer in self._sums:
            parts = [old + new for old, new in zip(self._sums[layer], parts, strict=True)]
            old_counts = self._positions[layer]
            counts = (old_counts[0] + counts[0], old_counts[1] + counts[1], old_counts[2] + counts[2])
        self._sums[layer], self._positions[layer] = parts, counts

    def analysis(self, rotary: tuple[bool, ...]) -> RopeAnalysis:
        divided: list[list[Floats]] = []
        for layer in sorted(self._sums):
            positions, earlier, later = self._positions[layer]
            counts = (positions, positions, earlier, later, later)
            divided.append([(part / n).cpu().numpy() for part, n in zip(self._sums[layer], counts, strict=True)])
        return RopeAnalysis(rotary, self._pairs.frequencies, *(np.stack(each) for each in zip(*divided, strict=True)))


def _rotary_layers(model: PreTrainedModel, layers: int) -> tuple[bool, ...]:
    """A layer may leave the rotation out (SmolLM3's `no_rope_layers`); a model without rotary settings rotates none."""
    config: Any = model.config
    if not getattr(config, "rope_parameters", None):
        return (False,) * layers
    return tuple(map(bool, getattr(config, "no_rope_layers", None) or (True,) * layers))
