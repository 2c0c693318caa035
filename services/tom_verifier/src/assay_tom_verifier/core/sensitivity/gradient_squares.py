"""How much each weight matters to some texts: the diagonal of the empirical Fisher information.

G = sum over samples n of (dL_n / dw)^2 (SqueezeLLM, arXiv:2306.07629, section 4.1). The square is that of each
sample's own gradient; in the square of a batch's summed gradient, samples that pull apart would cancel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.progress import Progress, silent
from assay_tom_verifier.core.sensitivity.matrices import matrices

GradientSquares = Mapping[str, Tensor]
"""By matrix, [out, in] float32 of nats squared per unit of weight squared."""


@dataclass(frozen=True)
class Sample:
    """ids: [T] int64. supervised: [P] positions whose token is learned, all above 0; the loss is their mean."""

    ids: Tensor
    supervised: Tensor

    @classmethod
    def whole(cls, ids: Tensor) -> Sample:
        """Every token but the first, which nothing precedes."""
        return cls(ids, torch.arange(1, len(ids)))


def gradient_squares(
    model: PreTrainedModel,
    samples: Iterable[Sample],
    *,
    cancel: CancelToken,
    progress: Progress = silent,
    total: int = 0,
) -> dict[str, Tensor]:
    """G of every matrix in float32, one sample at a time: memory holds one gradient besides the sums.

    Raises InvalidInput for weights that are not float32 (in less, gradients below 1.7e-4 have a square of 0), for no
    samples, and for a gradient that is not finite.
    """
    weights = matrices(model)
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise InvalidInput("model", f"holds {name} as {weight.dtype}; load it in float32")
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    done = 0
    for sample in samples:
        cancel.check()
        for name, gradient in _gradients(model, weights, sample).items():
            sums[name].addcmul_(gradient, gradient)
        done += 1
        progress(done, total, "samples")
    if not done:
        raise InvalidInput("samples", "are none; give at least one text")
    for name, summed in sums.items():
        if not bool(torch.isfinite(summed).all()):
            raise InvalidInput("model", f"has gradients of {name} that are not finite; check its weights")
    return sums


def sample_loss(model: PreTrainedModel, sample: Sample) -> Tensor:
    """Mean nats of the supervised tokens; scalar."""
    if sample.supervised.numel() == 0 or int(sample.supervised.min()) < 1:
        raise InvalidInput("samples", "have nothing to learn; supervise at least one token after the first")
    ids = sample.ids.to(model.device)
    logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0]
    return F.cross_entropy(logits[sample.supervised - 1].float(), ids[sample.supervised])


def _gradients(model: PreTrainedModel, weights: Mapping[str, torch.nn.Parameter], sample: Sample) -> dict[str, Tensor]:
    with torch.enable_grad():
        found = torch.autograd.grad(sample_loss(model, sample), list(weights.values()))
    return dict(zip(weights, found, strict=True))
