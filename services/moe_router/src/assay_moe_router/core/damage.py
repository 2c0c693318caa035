"""Does importance mean anything? Experts are ruined one after another, in the order a score gives, both ways round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.models.windows import Windows
from assay_moe_router.core.predictions import predictions
from assay_moe_router.core.quantize import rounded_to
from assay_moe_router.core.sites import ExpertWeights, Site, eager, find_sites, replaced_experts
from assay_moe_router.core.statistics import Floats

Order = Mapping[int, Sequence[int]]
"""By layer, experts from the least important to the most."""


@dataclass(frozen=True)
class DamageCurve:
    """Rise in loss, nats per token, of each sequence once the first d experts of every layer are ruined.

    least_first, most_first: [m + 1, S], d = 0 to m.
    """

    least_first: Floats
    most_first: Floats

    @property
    def area(self) -> Floats:
        """[S] mean over d of how far the curves lie apart; 0 for an order that knows nothing."""
        gap: Floats = (self.most_first - self.least_first).mean(axis=0)
        return gap


class DamageMeter:
    """Measures orders on one model and text; what was measured for one set of ruined experts is kept."""

    def __init__(
        self, model: PreTrainedModel, windows: Windows, *, batch: int, cancel: CancelToken, bits: int = 2
    ) -> None:
        self._model, self._windows, self._batch, self._cancel = model, windows, batch, cancel
        self._sites = find_sites(model)
        self._ruined = {
            (site.layer, expert): _rounded(site, expert, bits) for site in self._sites for expert in range(site.experts)
        }
        self._known: dict[frozenset[tuple[int, int]], Floats] = {}
        self._whole = self._loss(frozenset())

    def curve(self, order: Order) -> DamageCurve:
        depth = max(site.experts for site in self._sites)
        reverse = {layer: tuple(reversed(experts)) for layer, experts in order.items()}
        return DamageCurve(
            np.stack([self._rise(order, count) for count in range(depth + 1)]),
            np.stack([self._rise(reverse, count) for count in range(depth + 1)]),
        )

    def random_order(self, seed: int) -> Order:
        random = np.random.default_rng(seed)
        return {site.layer: tuple(random.permutation(site.experts).tolist()) for site in self._sites}

    def _rise(self, order: Order, count: int) -> Floats:
        return (
            self._loss(frozenset((layer, e) for layer, experts in order.items() for e in experts[:count])) - self._whole
        )

    def _loss(self, ruined: frozenset[tuple[int, int]]) -> Floats:
        if ruined not in self._known:
            with self._damaged(ruined):
                found = predictions(self._model, self._windows, self._batch, cancel=self._cancel)
            self._known[ruined] = found.loss
        return self._known[ruined]

    @contextmanager
    def _damaged(self, ruined: frozenset[tuple[int, int]]) -> Iterator[None]:
        """The ruined weights in place of the sound ones; put back however the block ends."""
        sound: list[tuple[Tensor, Tensor]] = []
        try:
            for site in self._sites:
                for expert in range(site.experts):
                    if (site.layer, expert) in ruined:
                        weights = site.weights(expert)
                        for name, value in self._ruined[site.layer, expert].items():
                            sound.append((weights[name], weights[name].clone()))
                            weights[name].copy_(value)
            with replaced_experts(self._model, self._sites, eager):
                yield
        finally:
            for place, value in sound:
                place.copy_(value)


def order_of(scores: Mapping[int, Floats]) -> Order:
    """Least important first; of equals the lower id."""
    return {layer: tuple(np.argsort(values, kind="stable").tolist()) for layer, values in scores.items()}


def _rounded(site: Site, expert: int, bits: int) -> ExpertWeights:
    weights = site.weights(expert)
    ruined: ExpertWeights = {}
    for name in site.matrices():
        matrix = weights[name].T if site.transposed else weights[name]
        rounded = rounded_to(matrix, bits)
        ruined[name] = rounded.T if site.transposed else rounded
    return ruined
