"""Where a training run stands, on disk: weights and optimizer moments in safetensors, replaced atomically."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FILE = "training-state.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class RunState:
    """step: steps already taken. seconds: time they took, over all attempts."""

    step: int
    seconds: float


def save_state(folder: Path, run: str, state: RunState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Replaces the state in `folder`; `run` names recipe, seed and text, so that no other run takes it up."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight:{name}"] = parameter.detach().contiguous()
        for moment in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    save_file(tensors, part, metadata={"run": run, "state": json.dumps({"step": state.step, "seconds": state.seconds})})
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, folder / FILE)


def load_state(folder: Path, run: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> RunState:
    """Puts weights and moments back; where there is no state of this very run, changes nothing: step 0."""
    path = folder / FILE
    if not path.is_file():
        return RunState(0, 0.0)
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("run") != run:
                return RunState(0, 0.0)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError:
        return RunState(0, 0.0)  # half a disk's worth of state is worth less than starting again
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight:{name}"])
            # An expert that no token has reached yet has a zero gradient, never none: all or no moments exist.
            if f"step:{name}" in tensors:
                optimizer.state[parameter] = {moment: tensors[f"{moment}:{name}"] for moment in _MOMENTS}
    return RunState(**json.loads(metadata["state"]))
