"""A balanced model against the original on held-out text: loss, accuracy and the balance that came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput
from assay.models.windows import Windows
from assay.progress import Progress, silent
from assay_moe_router.core.export import BalancedModel
from assay_moe_router.core.plan import Balance, BalancePlan
from assay_moe_router.core.predictions import Prediction, counted, predictions
from assay_moe_router.core.routing import observe
from assay_moe_router.core.statistics import Floats

DOCUMENT = "evaluation.json"


@dataclass(frozen=True)
class Comparison:
    """Means over sequences. change = after - before; low, high: its 95 % paired bootstrap interval."""

    before: float
    after: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """Both models on the same sequences. slot_tokens: by layer, as the balanced model's slots got them."""

    before: Prediction
    after: Prediction
    slot_tokens: Mapping[int, Sequence[int]]
    expert_tokens: Mapping[int, Sequence[int]]

    @classmethod
    def merge(cls, parts: Sequence[Measured]) -> Measured:
        """Shards over sequences, in order."""
        if not parts:
            raise InvalidInput("shards", "are none; give at least one")
        return cls(
            _joined([part.before for part in parts]),
            _joined([part.after for part in parts]),
            _added([part.slot_tokens for part in parts]),
            _added([part.expert_tokens for part in parts]),
        )

    def to_json(self) -> bytes:
        document = {
            "before": _prediction_json(self.before),
            "after": _prediction_json(self.after),
            "slot_tokens": {str(layer): list(map(int, tokens)) for layer, tokens in self.slot_tokens.items()},
            "expert_tokens": {str(layer): list(map(int, tokens)) for layer, tokens in self.expert_tokens.items()},
        }
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Measured:
        """What `to_json` wrote; DataLoss where it is damaged."""
        try:
            document = json.loads(data)
            return cls(
                _prediction(document["before"]),
                _prediction(document["after"]),
                {int(layer): tokens for layer, tokens in document["slot_tokens"].items()},
                {int(layer): tokens for layer, tokens in document["expert_tokens"].items()},
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataLoss("measurements cannot be read; evaluate again") from error


@dataclass(frozen=True)
class Evaluation:
    """loss_nats: per token. accuracy: share of tokens predicted first. balances: by layer, on this text; layers
    that no token reached are left out.
    """

    loss_nats: Comparison
    accuracy: Comparison
    balances: Mapping[int, Balance]
    sequences: int

    @property
    def mean_ratio(self) -> float:
        """Mean over layers of how many times better balanced each is."""
        return float(np.mean([balance.ratio for balance in self.balances.values()]))

    def to_json(self) -> bytes:
        document = {
            "schema_version": 1,
            "loss_nats": asdict(self.loss_nats),
            "accuracy": asdict(self.accuracy),
            "sequences": self.sequences,
            "mean_ratio": self.mean_ratio,
            "layers": [{"layer": layer, **asdict(b), "ratio": b.ratio} for layer, b in sorted(self.balances.items())],
        }
        return json.dumps(document, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Evaluation:
        """What `to_json` wrote; DataLoss where it is damaged."""
        try:
            document = json.loads(data)
            return cls(
                Comparison(**document["loss_nats"]),
                Comparison(**document["accuracy"]),
                {
                    entry["layer"]: Balance(entry["before"], entry["lis_logical"], entry["lis_slots"])
                    for entry in document["layers"]
                },
                document["sequences"],
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataLoss("the evaluation cannot be read; evaluate again") from error


def measure(
    original: PreTrainedModel,
    balanced: BalancedModel,
    windows: Windows,
    *,
    batch: int,
    cancel: CancelToken,
    progress: Progress = silent,
) -> Measured:
    """Runs both over the same windows. batch: sequences a pass; replicas take turns within one."""
    advance = counted(2 * windows.sequences, progress)
    with observe(original):
        before = predictions(original, windows, batch, cancel=cancel, progress=advance)
    with balanced.running() as counts:
        after = predictions(balanced.model, windows, batch, cancel=cancel, progress=advance)
    layers = [layer.layer for layer in balanced.plan.layers]
    return Measured(
        before,
        after,
        {layer: counts.slots[layer].tolist() for layer in layers},
        {layer: counts.experts(layer).tolist() for layer in layers},
    )


def evaluate(measured: Measured, plan: BalancePlan, *, resamples: int = 10_000, seed: int = 0) -> Evaluation:
    """The comparison with its intervals.

    The balance before is that of the experts' tokens in the balanced model's own run, so both sides count the same
    choices.
    """
    return Evaluation(
        loss_nats=paired(measured.before.loss, measured.after.loss, resamples=resamples, seed=seed),
        accuracy=paired(measured.before.accuracy, measured.after.accuracy, resamples=resamples, seed=seed),
        balances={
            layer.layer: Balance.of(
                layer,
                np.asarray(measured.slot_tokens[layer.layer]),
                np.asarray(measured.expert_tokens[layer.layer]),
            )
            for layer in plan.layers
            if any(measured.expert_tokens[layer.layer])
        },
        sequences=len(measured.before.nats),
    )


def paired(before: Floats, after: Floats, *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Percentile bootstrap of the mean difference over pairs [S]; sequences are resampled, not tokens."""
    if resamples < 100:
        raise InvalidInput("bootstrap_resamples", f"is {resamples}; an interval needs at least 100")
    if len(before) < 2:
        raise InvalidInput("sequences", f"is {len(before)}; an interval needs at least 2")
    difference = after - before
    random = np.random.default_rng(seed)
    low, high = np.quantile(resampled_means(difference, resamples, random), [0.025, 0.975])
    return Comparison(float(before.mean()), float(after.mean()), float(difference.mean()), float(low), float(high))


def resampled_means(values: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """[resamples] means of draws with replacement; in blocks, so that memory stays small."""
    means = np.empty(resamples)
    for start in range(0, resamples, 1000):
        stop = min(resamples, start + 1000)
        means[start:stop] = values[random.integers(0, len(values), (stop - start, len(values)))].mean(axis=1)
    return means


def _joined(parts: Sequence[Prediction]) -> Prediction:
    if len({part.tokens for part in parts}) != 1:
        raise InvalidInput("shards", "have sequences of different lengths; evaluate again")
    return Prediction(
        np.concatenate([part.nats for part in parts]),
        np.concatenate([part.correct for part in parts]),
        parts[0].tokens,
    )


def _added(parts: Sequence[Mapping[int, Sequence[int]]]) -> dict[int, list[int]]:
    if len({tuple((layer, len(tokens)) for layer, tokens in sorted(part.items())) for part in parts}) != 1:
        raise InvalidInput("shards", "have different layers or slots; they are of different plans")
    return {layer: np.sum([part[layer] for part in parts], axis=0).tolist() for layer in parts[0]}


def _prediction_json(prediction: Prediction) -> dict[str, Any]:
    return {"nats": prediction.nats.tolist(), "correct": prediction.correct.tolist(), "tokens": prediction.tokens}


def _prediction(document: Mapping[str, Any]) -> Prediction:
    nats, correct = (np.array(document[name], dtype=np.float64) for name in ("nats", "correct"))
    if nats.ndim != 1 or nats.shape != correct.shape:
        raise ValueError("nats and correct are of different sequences")
    return Prediction(nats, correct, int(document["tokens"]))
