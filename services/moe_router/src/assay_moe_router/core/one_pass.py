"""Importance scores from a single pass over the text: activation norm, row-wise Wanda, frequency."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.windows import Windows
from assay.progress import Progress, silent
from assay_moe_router.core.importance import Importance, LayerScores, Metric
from assay_moe_router.core.predictions import counted, predictions
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import RunExperts, Site, eager, find_sites, replaced_experts


def one_pass(
    model: PreTrainedModel,
    windows: Windows,
    metric: Metric,
    *,
    batch: int,
    cancel: CancelToken,
    progress: Progress = silent,
) -> Importance:
    """Scores of all experts from a single pass over the text.

    ACTIVATION_NORM: the norm of the expert's output times its routing weight, averaged over all tokens (0 where it
    was not chosen): what leaves the residual stream with the expert. WANDA_ROW: sum of |W_ij| * ||x_j||_2 over a
    row, averaged over the rows of all the expert's matrices, x the inputs routed to it (Wanda, arXiv:2306.11695).
    FREQUENCY: share of the layer's choices.
    """
    if metric.leaves_out:
        raise InvalidInput("metric", f"{metric.value} needs a pass for every expert; take leave_one_out")
    if metric is Metric.FREQUENCY:
        with observe(model) as observer:
            predictions(model, windows, batch, cancel=cancel, progress=counted(windows.sequences, progress))
        return Importance(
            metric,
            tuple(
                LayerScores(
                    layer.layer,
                    tuple(range(layer.experts)),
                    layer.loads / max(1, layer.loads.sum()),
                    (layer.counts / np.maximum(1, layer.counts.sum(axis=1, keepdims=True))).T,
                )
                for layer in observer.statistics().layers
            ),
        )
    sites = find_sites(model)
    collectors = {site.layer: (_Norms(site) if metric is Metric.ACTIVATION_NORM else _Wanda(site)) for site in sites}

    def collecting(site: Site) -> RunExperts:
        run, collector = eager(site), collectors[site.layer]

        def collected(hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
            collector.see(hidden, index.reshape(len(hidden), -1), weight.reshape(len(hidden), -1))
            return run(hidden, index, weight)

        return collected

    with replaced_experts(model, sites, collecting):
        predictions(model, windows, batch, cancel=cancel, progress=counted(windows.sequences, progress))
    return Importance(
        metric,
        tuple(
            LayerScores(site.layer, tuple(range(site.experts)), collectors[site.layer].scores().numpy())
            for site in sites
        ),
    )


class _Norms:
    """Sum of weighted output norms by expert."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sums = torch.zeros(site.experts, dtype=torch.float64)
        self._tokens = 0

    def see(self, hidden: Tensor, index: Tensor, weight: Tensor) -> None:
        self._tokens += len(hidden)
        for expert in torch.unique(index).tolist():
            if 0 <= expert < self._site.experts:
                token, position = torch.where(index == expert)
                output = self._site.run_expert(self._site.weights(expert), hidden[token])
                norms = output.double().norm(dim=-1) * weight[token, position].double()
                self._sums[expert] += norms.sum().cpu()

    def scores(self) -> Tensor:
        return self._sums / max(1, self._tokens)


class _Wanda:
    """Squared input norms by expert, matrix and column."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._squares: dict[int, dict[str, Tensor]] = {}

    def see(self, hidden: Tensor, index: Tensor, weight: Tensor) -> None:
        for expert in torch.unique(index).tolist():
            if 0 <= expert < self._site.experts:
                weights = self._site.weights(expert)
                inputs = hidden[(index == expert).any(dim=-1)]
                inner = self._site.inner_activations(weights, inputs)
                for position, name in enumerate(self._site.matrices()):
                    seen = (inputs if position == 0 else inner).double().square().sum(dim=0)
                    known = self._squares.setdefault(expert, {})
                    known[name] = known.get(name, torch.zeros_like(seen)) + seen

    def scores(self) -> Tensor:
        scores = torch.zeros(self._site.experts, dtype=torch.float64)
        for expert, squares in self._squares.items():
            rows = []
            for name, square in squares.items():
                matrix = self._site.weights(expert)[name].double().abs()
                rows.append(matrix.T @ square.sqrt() if self._site.transposed else matrix @ square.sqrt())
            scores[expert] = torch.cat(rows).mean()
        return scores
