"""What an engine's process holds between steps: models, and the caches of sessions. Bounded in bytes, not in number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from assay.artifacts.store import ArtifactStore
from assay.errors import InvalidInput
from assay.models.checkpoint import inspect_checkpoint
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.generation.model_pool import ModelPool
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.session_caches import SessionCaches
from assay_inference_optimizer.session_expiry import Sweeper, time_to_live_s

MODEL_SHARE, CACHE_SHARE = 0.5, 0.25  # of the memory that models compute in


def _budget(variable: str, share: float) -> int:
    """Bytes, from the environment or as a share of the device's memory."""
    text = os.environ.get(variable, "")
    if not text:
        if torch.cuda.is_available():
            return int(share * torch.cuda.mem_get_info()[1])
        return int(share * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise InvalidInput(variable, f"is {text!r}; write a whole number of bytes")
    return value


MODELS: ModelPool[ServedModel] = ModelPool(_budget("ASSAY_MODEL_BYTES", MODEL_SHARE))
SESSIONS = SessionCaches(_budget("ASSAY_KV_BYTES", CACHE_SHARE))
SWEEPER = Sweeper(time_to_live_s())


@contextmanager
def use_model(artifacts: ArtifactStore, reference: str) -> Iterator[ServedModel]:
    """The model, loaded where it is not. NotFound; InvalidInput where the reference names something else."""
    found = artifacts.get(reference)
    if found.manifest.kind != kinds.MODEL:
        raise InvalidInput("model", f"is an artifact of kind {found.manifest.kind}; give one of kind {kinds.MODEL}")
    digest = found.digest

    def directory() -> Path:
        return artifacts.path(digest)

    with MODELS.use(digest, lambda: _bytes_in_memory(directory()), lambda: ServedModel(directory(), digest)) as model:
        yield model


def _bytes_in_memory(directory: Path) -> int:
    """What a checkpoint's weights take once they are loaded: four bytes each on a CPU, as stored on a GPU."""
    found = inspect_checkpoint(directory)
    if torch.cuda.is_available():
        return found.weight_bytes
    return sum(4 * _product(tensor.shape) for tensor in found.tensors.values())


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
