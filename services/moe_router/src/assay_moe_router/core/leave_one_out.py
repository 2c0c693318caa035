"""The paper's importance: how much worse the model predicts once an expert is removed (arXiv:2602.19938)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.windows import Windows
from assay.progress import Progress, silent
from assay_moe_router.core.importance import Importance, LayerScores, Metric
from assay_moe_router.core.predictions import counted, predictions
from assay_moe_router.core.sites import RunExperts, Site, eager, find_sites, replaced_experts
from assay_moe_router.core.statistics import Floats


@contextmanager
def removed(model: PreTrainedModel, sites: Sequence[Site], target: Site, expert: int) -> Iterator[None]:
    """The model without one expert: its routing weight is zeroed and the others keep theirs.

    Renormalising the rest would also change how loud the layer speaks, and so measure two things at once; and a
    router that is left untouched, as the method demands, does not renormalise either.
    """

    def without(site: Site) -> RunExperts:
        run = eager(site)
        if site is not target:
            return run
        return lambda hidden, index, weight: run(hidden, index, weight.masked_fill(index == expert, 0))

    with replaced_experts(model, tuple(sites), without):
        yield


def leave_one_out(
    model: PreTrainedModel,
    windows: Windows,
    metric: Metric,
    layer: int,
    experts: Sequence[int],
    *,
    batch: int,
    cancel: CancelToken,
    progress: Progress = silent,
) -> Importance:
    """Rise in loss (nats per token), or fall in accuracy, of each sequence when an expert is removed."""
    if not metric.leaves_out:
        raise InvalidInput("metric", f"{metric.value} leaves no expert out; take one_pass")
    sites = find_sites(model)
    target = _site(sites, layer)
    if not experts or any(not 0 <= expert < target.experts for expert in experts):
        raise InvalidInput("experts", f"of layer {layer} are 0 to {target.experts - 1}; name some of them")
    advance = counted((len(experts) + 1) * windows.sequences, progress)
    with replaced_experts(model, sites, eager):
        whole = predictions(model, windows, batch, cancel=cancel, progress=advance)
    rows: list[Floats] = []

    def progress_of_one(sequences: int, **figures: float) -> None:
        advance(sequences, **figures, **({"highest": max(float(row.mean()) for row in rows)} if rows else {}))

    for expert in experts:
        with removed(model, sites, target, expert):
            without = predictions(model, windows, batch, cancel=cancel, progress=progress_of_one)
        change = without.loss - whole.loss if metric is Metric.LEAVE_ONE_OUT_LOSS else whole.accuracy - without.accuracy
        rows.append(change)
    per_sequence = np.stack(rows)
    return Importance(metric, (LayerScores(layer, tuple(experts), per_sequence.mean(axis=1), per_sequence),))


def _site(sites: Sequence[Site], layer: int) -> Site:
    for site in sites:
        if site.layer == layer:
            return site
    raise InvalidInput("layer", f"{layer} has no routed experts; there are {', '.join(str(s.layer) for s in sites)}")
