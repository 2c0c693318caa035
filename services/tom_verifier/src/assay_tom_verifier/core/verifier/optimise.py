"""Taking the steps of a training: seeded by whoever draws the batches, resumable, cancellable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from assay.cancel import CancelToken
from assay.errors import AssayError, InvalidInput
from assay.progress import Progress
from assay.zoo.resume import RunState, load_state, save_state

CHECKPOINT_EVERY_S = 20.0
_PROGRESS_STEPS = 25


@dataclass(frozen=True)
class Schedule:
    """batch: traces a step. The learning rate rises linearly, then falls along a cosine to a twentieth."""

    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int = 50
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, f"is {getattr(self, name)}; give at least 1")
        if not self.learning_rate > 0:
            raise InvalidInput("learning_rate", f"is {self.learning_rate}; give a number above 0")

    def rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def optimise(
    model: nn.Module,
    losses_at: Callable[[int], Iterable[Tensor]],
    schedule: Schedule,
    *,
    run: str,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
) -> RunState:
    """Takes all steps that are left by AdamW; leaves `model` in evaluation mode.

    losses_at: scalar losses of a step's parts, which add up to its loss, best made one by one: one part's activations
    are held at once, and a run that nobody waits for ends between two. They are a function of the step's number and
    the model alone, so that a run that was interrupted and taken up again ends in the same weights. run: names
    everything that decides them; state of another run in `checkpoint_dir` is left alone. Raises Cancelled or
    DeadlineExceeded, with the state saved first.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [each for each in parameters if each.dim() >= 2], "weight_decay": schedule.weight_decay},
            {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )
    start = RunState(0, 0.0) if checkpoint_dir is None else load_state(checkpoint_dir, run, model, optimizer)
    began = saved = time.monotonic()
    step, mean_loss = start.step, math.nan

    def save() -> None:
        if checkpoint_dir is not None:
            save_state(checkpoint_dir, run, RunState(step, start.seconds + time.monotonic() - began), model, optimizer)

    model.train()
    try:
        while step < schedule.steps:
            cancel.check()
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            optimizer.zero_grad()  # to none: a head without a part in this loss neither decays nor has moments
            loss = 0.0
            for number, part in enumerate(losses_at(step)):
                if number:
                    cancel.check()
                part.backward()
                loss += part.item()
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
            optimizer.step()
            step += 1
            mean_loss = loss if math.isnan(mean_loss) else 0.95 * mean_loss + 0.05 * loss
            if step % _PROGRESS_STEPS == 0 or step == schedule.steps:
                progress(step, schedule.steps, "steps", loss_nats=mean_loss)
            if time.monotonic() - saved >= CHECKPOINT_EVERY_S:
                save()
                saved = time.monotonic()
    except AssayError:
        save()
        raise
    finally:
        model.eval()
    save()
    return RunState(step, start.seconds + time.monotonic() - began)
