"""What a recipe is: everything that decides the weights of a model of the zoo, besides text and seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from assay.errors import InvalidInput

Source = Literal["text", "repeats", "copies", "recall", "instruct"]
# Fields that came after the first models were trained: left at their defaults they decide nothing.
_LATER_FIELDS = ("exit_loss", "stages", "stop_step", "source")
_LATER_STAGE_FIELDS = ("skew",)


@dataclass(frozen=True)
class Stage:
    """A stretch of training with data, sequence length and learning rate of its own.

    batch: sequences a step. sequence_length: tokens each of them predicts. The learning rate rises linearly over
    `warmup_steps`, then falls along a cosine from `learning_rate` to `final_learning_rate`; the optimizer's moments
    go on from stage to stage. source: what a sequence is made of.

    - `text`: a window of the train split; mix: (domain, share) pairs, shares adding up to 1; empty: as the split
      holds them.
    - `repeats`: passages of the train split, of which some return after a gap (`assay.zoo.repeats`).
    - `copies`: random tokens, repeated; teaches copying (`assay.zoo.repeats`). skew: the r-th token is drawn with odds
      of 1 / r^skew, so that few are met often and the others now and then; 0: all alike.
    - `recall`: `pairs` pairs, each `restated` so many times, to be looked up, up to `hops` away
      (`assay.zoo.recall_task`).
    - `instruct`: a request and its answer, of which the answer alone is learned (`assay.zoo.instruct`).
    """

    name: str
    steps: int
    batch: int
    sequence_length: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int = 0
    source: Source = "text"
    mix: tuple[tuple[str, float], ...] = ()
    pairs: int = 0
    hops: int = 2
    restated: int = 1
    skew: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """architecture: model_type of transformers; config: its settings besides vocabulary and special tokens.

    batch: sequences a step; sequence_length: tokens each of them predicts (an encoder-decoder reads the first
    half and predicts the second). auxiliary_loss: coefficient of the router's load-balancing loss in training;
    the saved config keeps it, and `output_router_logits` stays off so that `loss` means cross-entropy.
    exit_loss: coefficient of the cross-entropy that earlier layers reach through the model's own head, as in
    LayerSkip (arXiv:2404.16710), so that the model can be left early.
    stages: where there are any, they say batch, length and learning rate, and add up to `steps`. source: what held-out
    figures are of, in sequences of `sequence_length`.
    stop_step: the run is left at this step, its schedule unchanged: the model as it was then. 0: at the end.
    """

    name: str
    about: str
    architecture: str
    config: dict[str, Any] = field(hash=False)
    steps: int
    batch: int = 16
    sequence_length: int = 128
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    final_learning_rate_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    auxiliary_loss: float = 0.0
    vocabulary: int = 2048
    exit_loss: float = 0.0
    stages: tuple[Stage, ...] = ()
    stop_step: int = 0
    source: Literal["text", "repeats", "recall"] = "text"

    def __post_init__(self) -> None:
        if self.stages and sum(stage.steps for stage in self.stages) != self.steps:
            raise InvalidInput("steps", f"is {self.steps}; give what the stages add up to")
        if not 0 <= self.stop_step <= self.steps:
            raise InvalidInput("stop_step", f"is {self.stop_step}; give a step of the run, 1 to {self.steps}")

    @property
    def encoder_decoder(self) -> bool:
        return self.architecture == "switch_transformers"

    @property
    def last_step(self) -> int:
        """Steps that are taken."""
        return self.stop_step or self.steps

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the step's number in it; a recipe without stages is a single one."""
        for stage in self.stages or (self._whole(),):
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ValueError("the step lies beyond the run")

    def at(self, step: int) -> Recipe:
        """The same run left at `step`: `name@step`. InvalidInput for a step that the run does not have."""
        if step < 1:
            raise InvalidInput("recipe", f"{self.name}@{step} is no step of the run; give 1 to {self.steps}")
        return replace(self, name=f"{self.name}@{step}", stop_step=step)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that decides the weights."""
        decisive = {
            name: value
            for name, value in _without_defaults(self, _LATER_FIELDS).items()
            if name not in ("name", "about")
        }
        if self.stages:
            decisive["stages"] = [_without_defaults(stage, _LATER_STAGE_FIELDS) for stage in self.stages]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def _whole(self) -> Stage:
        return Stage(
            self.name,
            self.steps,
            self.batch,
            self.sequence_length,
            self.learning_rate,
            self.learning_rate * self.final_learning_rate_share,
            self.warmup_steps,
        )


def _without_defaults(brief: Recipe | Stage, names: tuple[str, ...]) -> dict[str, Any]:
    """All fields of `brief` as JSON takes them, but for those of `names` that are at their defaults."""
    defaults = {each.name: each.default for each in dataclasses.fields(brief) if each.name in names}
    values = dataclasses.asdict(brief)
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}
