"""What choosing blocks costs: mean loss on text under each method, at equal measured density."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.predict import token_nats
from assay.progress import Progress, silent
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig
from assay_inference_optimizer.core.sparse.fallbacks import Dense, Fallback

Floats = NDArray[np.float64]

DRAWS = 2000
"""Bootstrap draws behind the intervals of a comparison."""

MAX_DENSITY_GAP = 0.005
"""Methods are compared at equal density only: further apart, the one that reads more wins by reading more."""


@dataclass(frozen=True)
class SequenceLosses:
    """One method on a text.

    nats: [S] mean cross-entropy of each sequence's scored tokens. layer_density: attended over causal pairs, by layer,
    counted from the chosen blocks (of decoded tokens alone where tokens were decoded). density: its mean over the
    layers with full causal attention. fallbacks: layers that ran dense.
    """

    nats: Floats
    layer_density: Mapping[int, float]
    density: float
    fallbacks: tuple[Fallback, ...]

    def to_json(self) -> bytes:
        """Every number to its last bit."""
        document = {
            "nats": self.nats.tolist(),
            "layer_density": {str(layer): density for layer, density in self.layer_density.items()},
            "density": self.density,
            "fallbacks": [[one.layer, one.why.value, one.detail] for one in self.fallbacks],
        }
        return json.dumps(document).encode()

    @classmethod
    def from_json(cls, data: bytes) -> SequenceLosses:
        document = json.loads(data)
        return cls(
            np.array(document["nats"], dtype=np.float64),
            {int(layer): density for layer, density in document["layer_density"].items()},
            document["density"],
            tuple(Fallback(layer, Dense(why), detail) for layer, why, detail in document["fallbacks"]),
        )


@dataclass(frozen=True)
class Interval:
    """A mean over sequences with its 95 % interval; whoever gives it says by which method."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodLoss:
    """loss_nats: mean over sequences. rise: over dense attention on the same sequences, nats. gain_kept: the share of
    what context beyond sink and window is worth, NLL(sink_window) - NLL(dense), that the method keeps; None where that
    worth was not measured or is not positive throughout its interval."""

    method: Method
    loss_nats: float
    density: float
    rise: Interval
    gain_kept: Interval | None


def sequence_losses(
    model: PreTrainedModel,
    ids: Tensor,
    sparse: SparseConfig,
    *,
    decode_from: int | None = None,
    score_from: int = 0,
    batch: int = 4,
    cancel: CancelToken,
    progress: Progress = silent,
) -> SequenceLosses:
    """Reads sequences under `sparse` and says how well each is predicted.

    ids: [S, T] int64, no padding. decode_from: None reads each sequence in one prefill; a number reads that many tokens
    first and the others one by one, and scores the latter alone. score_from: targets before that position are left out
    (early ones see all of their context under any method). Attaches to the model. Raises InvalidInput, Cancelled, and
    Internal where losses are no numbers.
    """
    sequences, tokens = ids.shape
    first = score_from if decode_from is None else max(score_from, decode_from)
    if sequences < 1 or tokens < 2:
        raise InvalidInput("text", f"gives {sequences} sequences of {tokens} tokens; at least 1 of 2 are needed")
    if decode_from is not None and not 1 <= decode_from < tokens - 1:
        raise InvalidInput("decode_from", f"is {decode_from}; give 1 to {tokens - 2}")
    if not 0 <= first < tokens - 1:
        raise InvalidInput("score_from", f"is {first}; give 0 to {tokens - 2}")
    attach(model)
    nats: list[Tensor] = []
    caches: list[SparseCache] = []
    with torch.inference_mode():
        for start in range(0, sequences, batch):
            cancel.check()
            progress(start, sequences, "sequences")
            part = ids[start : start + batch].to(model.device)
            cache = SparseCache(model.config, sparse)
            logits = _logits(model, part, cache, decode_from, cancel)
            scored = token_nats(logits[:, first:], part[:, 1 + first :])
            nats.append(finite(scored.double().mean(dim=1)).cpu())
            caches.append(cache)
    progress(sequences, sequences, "sequences")
    rows = [len(part) for part in nats]
    layers = {
        layer: float(np.average([cache.density()[layer] for cache in caches], weights=rows))
        for layer in caches[0].density()
    }
    mean = float(np.average([cache.mean_density() for cache in caches], weights=rows))
    return SequenceLosses(torch.cat(nats).numpy(), layers, mean, caches[0].fallbacks())


def _logits(
    model: PreTrainedModel, ids: Tensor, cache: SparseCache, decode_from: int | None, cancel: CancelToken
) -> Tensor:
    """[B, T - 1, V] of every token but the last, read in one go or one by one from `decode_from` on."""
    read = ids[:, :-1]
    if decode_from is None:
        logits: Tensor = model(input_ids=read, past_key_values=cache, use_cache=True).logits
        return logits
    parts = [model(input_ids=read[:, :decode_from], past_key_values=cache, use_cache=True).logits]
    cache.forget_density()
    for position in range(decode_from, read.shape[1]):
        cancel.check()
        step = read[:, position : position + 1]
        parts.append(model(input_ids=step, past_key_values=cache, use_cache=True).logits)
    return torch.cat(parts, dim=1)


def compare(losses: Mapping[Method, SequenceLosses], *, seed: int = 0, draws: int = DRAWS) -> list[MethodLoss]:
    """The methods side by side, in the order given.

    losses: all on the same sequences, DENSE among them. Raises InvalidInput where it is missing, sequences differ in
    number, or two methods other than DENSE differ in density by more than MAX_DENSITY_GAP.
    """
    if Method.DENSE not in losses:
        raise InvalidInput("methods", "leave out dense, which the others are held against; add it")
    dense = losses[Method.DENSE].nats
    for method, found in losses.items():
        if found.nats.shape != dense.shape:
            raise InvalidInput("losses", f"of {method.value} are of {found.nats.size} sequences, not {dense.size}")
    _check_densities({method: found.density for method, found in losses.items() if method is not Method.DENSE})
    samples = _samples(dense.size, seed, draws)
    floor = losses.get(Method.SINK_WINDOW)
    worth = None if floor is None else floor.nats - dense
    if worth is not None and _interval(worth, samples).low <= 0:
        worth = None
    return [
        MethodLoss(
            method,
            float(found.nats.mean()),
            found.density,
            _interval(found.nats - dense, samples),
            None if worth is None else _share_kept(found.nats - dense, worth, samples),
        )
        for method, found in losses.items()
    ]


def compare_methods(
    model: PreTrainedModel,
    ids: Tensor,
    sparse: SparseConfig,
    methods: Sequence[Method] = tuple(Method),
    *,
    decode_from: int | None = None,
    score_from: int = 0,
    batch: int = 4,
    seed: int = 0,
    cancel: CancelToken,
    progress: Progress = silent,
) -> list[MethodLoss]:
    """`sequence_losses` of every method at the density of `sparse`, then `compare`. DENSE is added where missing."""
    wanted = list(dict.fromkeys([Method.DENSE, *methods]))
    losses = {}
    for done, method in enumerate(wanted):
        progress(done, len(wanted), "methods")
        losses[method] = sequence_losses(
            model,
            ids,
            replace(sparse, method=method),
            decode_from=decode_from,
            score_from=score_from,
            batch=batch,
            cancel=cancel,
        )
    progress(len(wanted), len(wanted), "methods")
    return compare(losses, seed=seed)


def student_rise(rises: Floats) -> Interval:
    """The mean of [S] rises, S >= 2, with Student's t interval: right in few sequences, where the percentile bootstrap
    is too narrow, as far as a mean of S rises is normally distributed."""
    mean = float(rises.mean())
    half = float(stats.t.ppf(0.975, rises.size - 1) * rises.std(ddof=1) / np.sqrt(rises.size))
    return Interval(mean, mean - half, mean + half)


def _check_densities(densities: Mapping[Method, float]) -> None:
    if densities and max(densities.values()) - min(densities.values()) > MAX_DENSITY_GAP:
        found = ", ".join(f"{method.value} {density:.3f}" for method, density in densities.items())
        raise InvalidInput("losses", f"were measured at different densities ({found}); ask all for the same")


def _samples(count: int, seed: int, draws: int) -> NDArray[np.int64]:
    """[draws, count] sequences drawn with replacement, the same for every method: hence paired."""
    return np.random.default_rng(seed).integers(0, count, size=(draws, count))


def _interval(values: Floats, samples: NDArray[np.int64]) -> Interval:
    low, high = np.quantile(values[samples].mean(axis=1), (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def _share_kept(rise: Floats, worth: Floats, samples: NDArray[np.int64]) -> Interval:
    """1 - rise / worth of the means; draws in which the worth vanishes say nothing and are left out."""
    drawn_worth = worth[samples].mean(axis=1)
    sound = drawn_worth > 0
    low, high = np.quantile(1 - rise[samples].mean(axis=1)[sound] / drawn_worth[sound], (0.025, 0.975))
    return Interval(float(1 - rise.mean() / worth.mean()), float(low), float(high))
