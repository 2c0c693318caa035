"""The published code's masks, its defects included (joel-wu/how-large-language-models-encode-theory-of-mind, 9b254e6).

For comparison with its figures, and nothing else: see `published_samples`, `published_squares`, `published_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.sensitivity.answers import encoded
from assay_tom_verifier.core.sensitivity.gradient_squares import Sample, sample_loss
from assay_tom_verifier.core.sensitivity.matrices import matrices
from assay_tom_verifier.core.sensitivity.parameter_mask import MatrixMask, ParameterMask, count_of
from assay_tom_verifier.core.sensitivity.tasks.item import Item


def published_samples(items: Iterable[Item], tokenizer: PreTrainedTokenizerBase) -> list[Sample]:
    """Learns the prompt's last token ("of", "the") where the answer was to be learned."""
    rows = [encoded(item.prompt, tokenizer) for item in items]
    return [Sample(torch.tensor(ids), torch.tensor([len(ids) - 1])) for ids in rows]


def published_squares(model: PreTrainedModel, samples: Iterable[Sample], *, cancel: CancelToken) -> dict[str, Tensor]:
    """Squares and their sums in float16: what is below 1.7e-4 counts as 0, what sums to above 65504 as infinite."""
    weights = matrices(model)
    sums = {name: torch.zeros_like(weight, dtype=torch.float16) for name, weight in weights.items()}
    done = 0
    for sample in samples:
        cancel.check()
        with torch.enable_grad():
            gradients = torch.autograd.grad(sample_loss(model, sample), list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            sums[name] += gradient.to(torch.float16).square()
        done += 1
    if not done:
        raise InvalidInput("samples", "are none; give at least one text")
    return sums


def published_mask(task: Mapping[str, Tensor], general: Mapping[str, Tensor], share: float) -> ParameterMask:
    """Above the k-th largest value, not at it: one weight fewer than k at least, none at k = 1, and none of equals."""

    def above(values: Mapping[str, Tensor]) -> ParameterMask:
        return ParameterMask({name: _above(each, count_of(share, each.numel())) for name, each in values.items()})

    return above(task).minus(above(general))


def _above(values: Tensor, count: int) -> MatrixMask:
    flat = values.detach().flatten().cpu()
    if count == 0:
        return MatrixMask(torch.empty(0, dtype=torch.int64), tuple(values.shape))
    return MatrixMask((flat > flat.topk(count).values[-1]).nonzero().flatten(), tuple(values.shape))
