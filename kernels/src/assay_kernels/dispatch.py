"""Which implementation of an op runs."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch
from torch import Tensor

Implementation = Literal["reference", "cpu", "triton"]
IMPLEMENTATIONS: tuple[Implementation, ...] = ("reference", "cpu", "triton")
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def triton_is_usable(device: torch.device) -> bool:
    """Whether Triton kernels run on `device`: compiled on a GPU, elsewhere under TRITON_INTERPRET=1 alone."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.type == "cuda" or interpreting()


def interpreting() -> bool:
    """Whether Triton runs under its interpreter; it reads the variable once, when its kernels are defined."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def choose(implementation: Implementation | None, tensor: Tensor) -> Implementation:
    """The implementation to run on `tensor`: the one asked for, else Triton on a GPU and the CPU path elsewhere.

    Raises ValueError for an unknown name, for Triton where it cannot run and for input that wants a gradient;
    NotImplementedError for bfloat16 under Triton's interpreter, whose dot of it is wrong.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError("the kernels have no gradient; call them under torch.no_grad()")
    if implementation is None:
        return "triton" if tensor.is_cuda and triton_is_usable(tensor.device) else "cpu"
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: {implementation!r} is none of {', '.join(IMPLEMENTATIONS)}")
    if implementation == "triton":
        if not triton_is_usable(tensor.device):
            raise ValueError(
                f"implementation: triton does not run on {tensor.device.type} here; it needs a GPU, or the package "
                "triton with TRITON_INTERPRET=1 set before the start"
            )
        if interpreting() and tensor.dtype == torch.bfloat16:
            raise NotImplementedError("bfloat16 under Triton's interpreter, whose tl.dot of it is wrong; use float32")
    return implementation
