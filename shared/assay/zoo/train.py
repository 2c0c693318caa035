"""Training one recipe: seeded, resumable, cancellable, ending in a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from assay.cancel import CancelToken
from assay.errors import AssayError, InvalidInput
from assay.models.loading import transformers_loading
from assay.progress import Progress
from assay.zoo.batches import Batches
from assay.zoo.held_out import HeldOut, measure_held_out, measure_repeats, unigram_log_probabilities
from assay.zoo.held_out_recall import RecallHeldOut, measure_recall
from assay.zoo.objective import training_loss
from assay.zoo.recall_task import recall_tokenizer
from assay.zoo.recipe import Recipe
from assay.zoo.resume import RunState, load_state, save_state
from assay.zoo.tokenizer import END_ID, PAD_ID, train_tokenizer
from assay.zoo.tokens import text_fingerprint

CHECKPOINT_EVERY_S = 20.0
REPORT_FILE = "training.json"
_PROGRESS_STEPS = 10


@dataclass(frozen=True)
class TrainingReport:
    """What was trained and how well it predicts. seconds: training alone, over all attempts of the run."""

    recipe: dict[str, Any]
    seed: int
    text_sha256: str
    steps: int
    parameters: int
    seconds: float
    held_out: HeldOut | RecallHeldOut
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def train(
    recipe: Recipe,
    text_dir: Path,
    out_dir: Path,
    *,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
    threads: int = 1,
) -> TrainingReport:
    """Trains `recipe` on a text artifact's train split and writes a loadable model to `out_dir`.

    The saved weights are bfloat16, and the figures in training.json are measured on those.
    checkpoint_dir: state is kept there and taken up by the next call with the same recipe, seed and text; with
    as many threads on one machine, an interrupted run ends in the same weights as an uninterrupted one.
    threads: of torch, for the time of the call. For matrices this small a second one saves a quarter of the time
    on an idle machine and multiplies it on a busy one, where each waits for the other.
    Raises Cancelled or DeadlineExceeded (state saved first), InvalidInput for text too short or `out_dir` in use.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InvalidInput("out", f"{out_dir} is not empty; give a new directory")
    text_sha256 = text_fingerprint(text_dir)
    with _threads(threads):
        progress(0, recipe.last_step, "steps")
        tokenizer = _tokenizer(recipe, text_dir)
        cancel.check()
        batches = Batches(recipe, text_dir, "train", tokenizer, cancel=cancel)
        model = new_model(recipe, seed)
        run = f"{recipe.fingerprint()}-{seed}-{text_sha256}"
        state = _optimise(recipe, model, batches, run, seed, cancel, progress, checkpoint_dir)
        _save(model, tokenizer, out_dir)
        held_out = _measure(recipe, model.float().eval(), text_dir, tokenizer, batches, cancel)
    report = TrainingReport(
        recipe=recipe.to_json(),
        seed=seed,
        text_sha256=text_sha256,
        steps=recipe.last_step,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds=round(state.seconds, 1),
        held_out=held_out,
        versions={"torch": torch.__version__, "transformers": transformers.__version__},
    )
    (out_dir / REPORT_FILE).write_text(json.dumps(report.to_json(), indent=2, sort_keys=True) + "\n")
    if checkpoint_dir is not None:
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
    return report


def new_model(recipe: Recipe, seed: int) -> nn.Module:
    """The recipe's model with weights drawn from `seed`, in float32, in training mode."""
    special = {"vocab_size": recipe.vocabulary, "pad_token_id": PAD_ID, "eos_token_id": END_ID, "bos_token_id": END_ID}
    if recipe.encoder_decoder:
        special["decoder_start_token_id"] = PAD_ID
    config = AutoConfig.for_model(recipe.architecture, **{**recipe.config, **special})
    factory = AutoModelForSeq2SeqLM if recipe.encoder_decoder else AutoModelForCausalLM
    # transformers initialises from the process-wide generator, which two trainings at once would share.
    with transformers_loading(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = factory.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model.train()


def _optimise(
    recipe: Recipe,
    model: nn.Module,
    batches: Batches,
    run: str,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None,
) -> RunState:
    """All steps that are left. Step i depends on its number, the seed and the state only: hence resumable."""
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.95)
    )
    start = RunState(0, 0.0) if checkpoint_dir is None else load_state(checkpoint_dir, run, model, optimizer)
    began = saved = time.monotonic()
    step, mean_loss = start.step, math.nan

    def save() -> None:
        if checkpoint_dir is not None:
            save_state(checkpoint_dir, run, RunState(step, start.seconds + time.monotonic() - began), model, optimizer)

    try:
        while step < recipe.last_step:
            cancel.check()
            loss = _step(recipe, model, optimizer, batches, seed, step)
            step += 1
            mean_loss = loss if math.isnan(mean_loss) else 0.95 * mean_loss + 0.05 * loss
            if step % _PROGRESS_STEPS == 0 or step == recipe.last_step:
                progress(step, recipe.last_step, "steps", loss_nats=mean_loss)
            if time.monotonic() - saved >= CHECKPOINT_EVERY_S:
                save()
                saved = time.monotonic()
    except AssayError:
        save()
        raise
    save()  # measuring may still be interrupted
    return RunState(step, start.seconds + time.monotonic() - began)


def _step(
    recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, seed: int, step: int
) -> float:
    """One update; returns the batch's mean cross-entropy in nats."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    generator = torch.Generator().manual_seed(seed * 2**32 + step)
    windows, learned = batches.draw(recipe.stage_at(step)[0], generator)
    total, loss = training_loss(recipe, model, windows, learned, step)
    optimizer.zero_grad(set_to_none=False)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return loss.item()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warmup, then a cosine down to the final rate: of the run, or of each of its stages."""
    stage, step = recipe.stage_at(step)
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * done))
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * falling


def _tokenizer(recipe: Recipe, text_dir: Path) -> Any:
    if recipe.source == "recall":
        return recall_tokenizer()
    return train_tokenizer(text_dir, vocabulary=recipe.vocabulary)


def _measure(
    recipe: Recipe, model: nn.Module, text_dir: Path, tokenizer: Any, batches: Batches, cancel: CancelToken
) -> HeldOut | RecallHeldOut:
    if recipe.source == "recall":
        return measure_recall(recipe, model, cancel=cancel)
    unigram = unigram_log_probabilities(batches.stream, recipe.vocabulary)
    test = Batches(recipe, text_dir, "test", tokenizer, cancel=cancel)
    if recipe.source == "repeats":
        return measure_repeats(recipe, model, test, unigram, split="test", cancel=cancel)
    return measure_held_out(recipe, model, test.stream, unigram, split="test", cancel=cancel)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Norm scales and biases are left out of weight decay."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _save(model: nn.Module, tokenizer: Any, out_dir: Path) -> None:
    """Writes bfloat16 weights, config and tokenizer; `model` is bfloat16 afterwards."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with transformers_loading():
        model.to(torch.bfloat16).save_pretrained(out_dir)  # type: ignore[operator]
    tokenizer.save_pretrained(out_dir)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
