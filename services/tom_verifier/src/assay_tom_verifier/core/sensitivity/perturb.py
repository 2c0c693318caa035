"""Taking away what masked weights know: each becomes its matrix's mean, and comes back bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import InvalidInput
from assay_tom_verifier.core.sensitivity.matrices import matrices
from assay_tom_verifier.core.sensitivity.parameter_mask import ParameterMask


@contextmanager
def perturbed(model: PreTrainedModel, mask: ParameterMask) -> Iterator[PreTrainedModel]:
    """Within, every masked weight is the mean of its matrix with masked weights counted as 0; after, it is itself.

    The mean is taken in float64 over all entries, the zeros among them, and rounded to the weights' type. Restored on
    every way out. InvalidInput where the mask is of another model; one perturbation at a time.
    """
    weights = matrices(model)
    for name, matrix in mask.matrices.items():
        if name not in weights or tuple(weights[name].shape) != matrix.shape:
            raise InvalidInput("mask", f"holds {name} of shape {matrix.shape}, which the model has not; scan it again")
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name, matrix in mask.matrices.items():
                # A view: what is written to it is written to the weight.
                flat, indices = weights[name].detach().view(-1), matrix.indices.to(weights[name].device)
                kept.append((flat, indices, flat[indices].clone()))
                flat[indices] = 0
                flat[indices] = flat.double().mean().to(flat.dtype)
        yield model
    finally:
        with torch.no_grad():
            for flat, indices, values in kept:
                flat[indices] = values
