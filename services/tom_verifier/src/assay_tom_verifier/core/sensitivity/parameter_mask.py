"""A set of single weights, a few of each matrix: how it is chosen and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from assay.errors import DataLoss, InvalidInput

INDICES, SUMMARY = "mask.safetensors", "mask.json"
# Fewer single weights than this say more of their own luck than of the method.
LEAST_MASKED = 50
MAX_SHARE = 0.1


@dataclass(frozen=True)
class MatrixMask:
    """indices: [n] int64, flat (row-major), ascending and without repeats, into a matrix of `shape`."""

    indices: Tensor
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    def dense(self) -> Tensor:
        """[shape] bool."""
        flat = torch.zeros(self.parameters, dtype=torch.bool)
        flat[self.indices] = True
        return flat.view(self.shape)


@dataclass(frozen=True)
class ParameterMask:
    """By matrix's name; every matrix that was looked at is there, with or without masked weights."""

    matrices: Mapping[str, MatrixMask]

    @property
    def masked(self) -> int:
        return sum(matrix.indices.numel() for matrix in self.matrices.values())

    @property
    def parameters(self) -> int:
        return sum(matrix.parameters for matrix in self.matrices.values())

    def check_size(self) -> None:
        """InvalidInput where fewer than LEAST_MASKED weights are masked."""
        if self.masked < LEAST_MASKED:
            raise InvalidInput(
                "share", f"masks {self.masked} of {self.parameters} parameters; raise it until it masks {LEAST_MASKED}"
            )

    def minus(self, other: ParameterMask) -> ParameterMask:
        """What is here and not there; both of the same model."""
        return ParameterMask(
            {
                name: MatrixMask(
                    torch.from_numpy(
                        np.setdiff1d(matrix.indices.numpy(), other.matrices[name].indices.numpy(), assume_unique=True)
                    ),
                    matrix.shape,
                )
                for name, matrix in self.matrices.items()
            }
        )

    def to_files(self) -> dict[str, bytes]:
        """Files of an artifact: indices as safetensors, and a summary for people."""
        document = {
            "schema_version": 1,
            "masked": self.masked,
            "parameters": self.parameters,
            "matrices": [
                {"name": name, "shape": list(matrix.shape), "masked": matrix.indices.numel()}
                for name, matrix in self.matrices.items()
            ],
        }
        arrays = {name: np.ascontiguousarray(matrix.indices.numpy()) for name, matrix in self.matrices.items()}
        return {INDICES: save(arrays), SUMMARY: json.dumps(document, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> ParameterMask:
        """What `to_files` wrote; DataLoss where it is damaged."""
        try:
            arrays, document = load(files[INDICES]), json.loads(files[SUMMARY])
            found = {}
            for entry in document["matrices"]:
                shape = tuple(int(size) for size in entry["shape"])
                indices = arrays[entry["name"]]
                if indices.dtype != np.int64 or indices.ndim != 1 or len(indices) != entry["masked"]:
                    raise ValueError("indices and summary differ")
                if len(indices) and not (
                    indices[0] >= 0 and indices[-1] < math.prod(shape) and (np.diff(indices) > 0).all()
                ):
                    raise ValueError("indices are out of order or out of the matrix")
                found[str(entry["name"])] = MatrixMask(torch.from_numpy(indices.copy()), shape)
        except (KeyError, ValueError, TypeError, SafetensorError) as error:
            raise DataLoss("the mask cannot be read; scan the model again") from error
        return cls(found)


def count_of(share: float, parameters: int) -> int:
    """floor(share * parameters), of the decimal number as it is written: 0.29 of 100 is 29, not 28."""
    if not 0 < share <= MAX_SHARE:
        raise InvalidInput("share", f"is {share}; give a share above 0, up to {MAX_SHARE}")
    return math.floor(Fraction(repr(share)) * parameters)


def largest(values: Tensor, count: int) -> Tensor:
    """Flat indices of the `count` largest of `values`, ascending; of equal ones the first in row-major order.

    values: of any shape, float. Returns [count] int64.
    """
    flat = values.detach().flatten().cpu()
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    threshold = flat.topk(count).values[-1]
    above = (flat > threshold).nonzero().flatten()
    level = (flat == threshold).nonzero().flatten()[: count - above.numel()]
    return torch.cat((above, level)).sort().values


def top_mask(values: Mapping[str, Tensor], counts: Mapping[str, int]) -> ParameterMask:
    """The `counts[name]` largest of each matrix."""
    return ParameterMask(
        {name: MatrixMask(largest(each, counts[name]), tuple(each.shape)) for name, each in values.items()}
    )


def sensitive_mask(task: Mapping[str, Tensor], general: Mapping[str, Tensor], share: float) -> ParameterMask:
    """What matters to the task and not to general text: the top of one without the top of the other, by matrix.

    task, general: gradient squares of one model. share: m; each top holds floor(m * numel) weights of a matrix.
    """
    counts = {name: count_of(share, values.numel()) for name, values in task.items()}
    return top_mask(task, counts).minus(top_mask(general, counts))
