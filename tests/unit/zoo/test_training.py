"""Training: it learns, it is seeded, it resumes to the same weights, it stops when told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput, Unimplemented
from assay.models.checkpoint import inspect_checkpoint, load_model, load_tokenizer
from assay.models.predict import token_nats
from assay.progress import silent
from assay.zoo import held_out_recall
from assay.zoo.held_out import HeldOut
from assay.zoo.held_out_recall import RecallHeldOut
from assay.zoo.recipe import Stage
from assay.zoo.recipes import RECIPES, Recipe
from assay.zoo.resume import FILE
from assay.zoo.tokenizer import END_ID, PAD_ID
from assay.zoo.tokens import read_tokens
from assay.zoo.train import TrainingReport, learning_rate, new_model, train


@pytest.fixture(scope="module")
def trained(
    micro: Recipe, small_text_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingReport]:
    out = tmp_path_factory.mktemp("trained") / "model"
    return out, train(micro, small_text_dir, out, seed=3, cancel=CancelToken(), progress=silent)


def brief_of(recipe: Recipe) -> Recipe:
    """Two steps, or two of each stage, on few tokens; pairs to recall keep the room they need."""
    if not recipe.stages:
        return replace(recipe, steps=2, batch=2, sequence_length=64, warmup_steps=1, vocabulary=512)
    stages = tuple(
        replace(stage, steps=2, batch=2, sequence_length=stage.sequence_length if stage.pairs else 64)
        for stage in recipe.stages
    )
    brief = replace(recipe, steps=2 * len(stages), stages=stages)
    return brief if recipe.source == "recall" else replace(brief, sequence_length=128, vocabulary=512)


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_few_seconds_of_training_beat_token_frequencies(trained: tuple[Path, TrainingReport]) -> None:
    held_out = trained[1].held_out
    assert isinstance(held_out, HeldOut)
    # An untrained model of 512 tokens stands at ln 512 = 6.24 nats, above the unigram's 5.4 or so.
    assert held_out.unigram_loss_nats < math.log(512)
    assert held_out.loss_nats < held_out.unigram_loss_nats - 0.3
    assert held_out.perplexity == pytest.approx(math.exp(held_out.loss_nats))
    # A token of this vocabulary stands for about two bytes, so a byte costs about half of it.
    assert 0.25 * held_out.loss_nats < held_out.nats_per_byte < 0.75 * held_out.loss_nats


def test_what_is_saved_loads_as_bfloat16_with_its_report(trained: tuple[Path, TrainingReport]) -> None:
    out, report = trained
    info = inspect_checkpoint(out)
    assert info.architecture == "qwen3_moe"
    assert {tensor.dtype for tensor in info.tensors.values()} == {"BF16"}
    assert json.loads((out / "training.json").read_text()) == json.loads(json.dumps(report.to_json()))
    model, tokenizer = load_model(out), load_tokenizer(out)
    assert model.dtype is torch.bfloat16
    assert (model.config.pad_token_id, model.config.eos_token_id) == (PAD_ID, END_ID)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD_ID, END_ID)
    # Served models must not add the balancing loss to what they call loss.
    assert not model.config.output_router_logits


def test_any_text_round_trips_through_the_tokenizer(trained: tuple[Path, TrainingReport]) -> None:
    tokenizer = load_tokenizer(trained[0])
    for text in ("def f():\n\treturn 'ß → 🜁'\n", " leading and trailing ", "\x00\x7f", "<|not special|>"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_an_interrupted_run_ends_in_the_weights_of_an_uninterrupted_one(
    micro: Recipe, small_text_dir: Path, tmp_path: Path, trained: tuple[Path, TrainingReport]
) -> None:
    cancel = CancelToken()

    def stop_half_way(done: int, total: int, unit: str = "", **figures: float) -> None:
        if done >= micro.steps // 2:
            cancel.cancel()

    with pytest.raises(Cancelled):
        train(
            micro, small_text_dir, tmp_path / "a", seed=3, cancel=cancel, progress=stop_half_way,
            checkpoint_dir=tmp_path / "state",
        )  # fmt: skip
    assert (tmp_path / "state" / FILE).is_file()
    seen: list[int] = []
    train(
        micro, small_text_dir, tmp_path / "b", seed=3, cancel=CancelToken(), checkpoint_dir=tmp_path / "state",
        progress=lambda done, total, unit="", **figures: seen.append(done),
    )  # fmt: skip
    assert min(filter(None, seen)) > micro.steps // 2  # the first half is not trained again
    assert same_weights(trained[0], tmp_path / "b")
    assert not (tmp_path / "state").exists()


def test_state_of_another_run_is_not_taken_up(micro: Recipe, small_text_dir: Path, tmp_path: Path) -> None:
    short = replace(micro, steps=10)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        train(
            short, small_text_dir, tmp_path / "a", seed=0, cancel=cancel, checkpoint_dir=tmp_path / "state",
            progress=lambda done, total, unit="", **figures: cancel.cancel() if done else None,
        )  # fmt: skip
    (tmp_path / "other").mkdir()
    (tmp_path / "state" / FILE).rename(tmp_path / "other" / FILE)
    for seed, folder in ((1, "with"), (1, "without")):
        state = tmp_path / "other" if folder == "with" else None
        train(
            short,
            small_text_dir,
            tmp_path / folder,
            seed=seed,
            cancel=CancelToken(),
            progress=silent,
            checkpoint_dir=state,
        )
    assert same_weights(tmp_path / "with", tmp_path / "without")


def test_the_seed_decides_the_weights(micro: Recipe) -> None:
    first, again, other = (new_model(micro, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_takes_steps_and_saves(
    name: str, small_text_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out_recall, "QUESTIONS", 80)
    brief = brief_of(RECIPES[name])
    report = train(brief, small_text_dir, tmp_path / "model", seed=0, cancel=CancelToken(), progress=silent)
    if isinstance(report.held_out, RecallHeldOut):
        assert 0 <= report.held_out.accuracy_one_hop < 0.3  # chance is 0.04
    else:
        assert math.isfinite(report.held_out.loss_nats)
        assert (report.held_out.repeated_loss_nats is not None) == (brief.source == "repeats")
    assert inspect_checkpoint(tmp_path / "model").architecture == brief.architecture
    load_model(tmp_path / "model")


def test_the_learning_rate_rises_then_falls_to_its_share(micro: Recipe) -> None:
    rates = [learning_rate(micro, step) for step in range(micro.steps)]
    assert rates[micro.warmup_steps - 1] == pytest.approx(micro.learning_rate)
    assert rates[: micro.warmup_steps] == sorted(rates[: micro.warmup_steps])
    assert rates[micro.warmup_steps :] == sorted(rates[micro.warmup_steps :], reverse=True)
    assert rates[-1] < 0.06 * micro.learning_rate


def test_a_directory_in_use_is_refused(micro: Recipe, small_text_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(InvalidInput, match="not empty"):
        train(micro, small_text_dir, tmp_path, seed=0, cancel=CancelToken(), progress=silent)


def test_a_run_left_early_is_the_longer_run_as_it_was_then(micro: Recipe, small_text_dir: Path, tmp_path: Path) -> None:
    # Were the schedule shortened too, the rate at step 20 would have fallen already.
    for name, brief in {"left": micro.at(20), "short": replace(micro, steps=20)}.items():
        train(brief, small_text_dir, tmp_path / name, seed=3, cancel=CancelToken(), progress=silent)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        train(
            micro, small_text_dir, tmp_path / "long", seed=3, cancel=cancel, checkpoint_dir=tmp_path / "state",
            progress=lambda done, total, unit="", **figures: cancel.cancel() if done == 20 else None,
        )  # fmt: skip
    left, short = (load_file(tmp_path / name / "model.safetensors") for name in ("left", "short"))
    long = load_file(tmp_path / "state" / FILE)
    name = "model.embed_tokens.weight"
    assert torch.equal(left[name], long[f"weight:{name}"].bfloat16())
    assert not torch.equal(short[name], left[name])


@pytest.mark.slow
def test_exit_losses_teach_earlier_layers_to_answer(micro: Recipe, small_text_dir: Path, tmp_path: Path) -> None:
    config = {**RECIPES["dense-6"].config, "hidden_size": 32, "intermediate_size": 64}
    plain = replace(micro, name="plain", architecture="llama", config=config)
    excess = {}
    for exit_loss in (0.0, 0.5):
        out = tmp_path / str(exit_loss)
        train(replace(plain, exit_loss=exit_loss), small_text_dir, out, seed=0, cancel=CancelToken(), progress=silent)
        model, tokenizer = load_model(out, dtype=torch.float32), load_tokenizer(out)
        windows = read_tokens(small_text_dir, "test", tokenizer, cancel=CancelToken()).windows(64)[:32]
        with torch.inference_mode():
            output = model(windows[:, :-1], output_hidden_states=True)
            second = model.lm_head(model.model.norm(output.hidden_states[2]))
            nats = [token_nats(logits, windows[:, 1:]).mean().item() for logits in (second, output.logits)]
        excess[exit_loss] = nats[0] - nats[1]
    # What leaving after the second of six layers costs: some 0.2 nats untaught, even so early in training.
    assert excess[0.5] < excess[0.0] / 2


def test_exit_losses_need_a_norm_that_layers_share(small_text_dir: Path, tmp_path: Path) -> None:
    brief = replace(RECIPES["mamba2-12"], steps=1, warmup_steps=1, exit_loss=0.5, vocabulary=512)
    with pytest.raises(Unimplemented, match="mamba2"):
        train(brief, small_text_dir, tmp_path / "model", seed=0, cancel=CancelToken(), progress=silent)


def test_a_run_interrupted_in_its_second_stage_ends_in_the_same_weights(
    micro: Recipe, small_text_dir: Path, tmp_path: Path
) -> None:
    stages = (
        Stage("first", 6, 4, 32, 6e-3, 3e-3, 2, mix=(("code", 0.5), ("docstring", 0.5))),
        Stage("second", 6, 2, 64, 3e-3, 1e-3),
        Stage("third", 4, 2, 64, 1e-3, 1e-4, source="instruct"),
    )
    staged = replace(micro, steps=16, stages=stages)
    train(staged, small_text_dir, tmp_path / "whole", seed=1, cancel=CancelToken(), progress=silent)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        train(
            staged, small_text_dir, tmp_path / "a", seed=1, cancel=cancel, checkpoint_dir=tmp_path / "state",
            progress=lambda done, total, unit="", **figures: cancel.cancel() if done >= 10 else None,
        )  # fmt: skip
    train(
        staged, small_text_dir, tmp_path / "b", seed=1, cancel=CancelToken(), checkpoint_dir=tmp_path / "state",
        progress=silent,
    )  # fmt: skip
    assert same_weights(tmp_path / "whole", tmp_path / "b")
