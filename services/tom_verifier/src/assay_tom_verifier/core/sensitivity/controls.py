"""Masks of as many weights of each matrix, chosen for other reasons: what a theory-of-mind mask has to beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay_tom_verifier.core.sensitivity.matrices import matrices
from assay_tom_verifier.core.sensitivity.parameter_mask import MatrixMask, ParameterMask, top_mask


def counts(mask: ParameterMask) -> dict[str, int]:
    return {name: matrix.indices.numel() for name, matrix in mask.matrices.items()}


def random_mask(mask: ParameterMask, seed: int) -> ParameterMask:
    """Weights drawn without replacement; the same seed gives the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return ParameterMask(
        {
            name: MatrixMask(_drawn(matrix.parameters, matrix.indices.numel(), generator), matrix.shape)
            for name, matrix in mask.matrices.items()
        }
    )


def magnitude_mask(mask: ParameterMask, model: PreTrainedModel) -> ParameterMask:
    """The weights of largest absolute value."""
    weights = matrices(model)
    return top_mask({name: weights[name].detach().abs() for name in mask.matrices}, counts(mask))


def general_mask(mask: ParameterMask, general: Mapping[str, Tensor]) -> ParameterMask:
    """The weights that matter most to general text. general: gradient squares."""
    return top_mask({name: general[name] for name in mask.matrices}, counts(mask))


def _drawn(parameters: int, count: int, generator: torch.Generator) -> Tensor:
    """[count] ascending, different: draws are repeated until so many differ, which for small shares is at once."""
    drawn = torch.empty(0, dtype=torch.int64)
    while drawn.numel() < count:
        more = torch.randint(parameters, (count - drawn.numel(),), generator=generator)
        drawn = torch.cat((drawn, more)).unique()
    return drawn
