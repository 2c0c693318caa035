from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.models.checkpoint import load_model, load_tokenizer
from assay.progress import silent
from assay.zoo.train import new_model
from assay_tom_verifier.core.sensitivity import subject
from assay_tom_verifier.core.sensitivity.answers import Asked
from assay_tom_verifier.core.sensitivity.subject import SUBJECTS, Shares, TaskTexts, train_subject
from assay_tom_verifier.core.sensitivity.tasks.suite import suite

Batch = tuple[torch.Tensor, torch.Tensor]
SHARES: Shares = {"unexpected-contents": 0.5, "localisation": 0.3, "language": 0.2}
SMALL = replace(
    SUBJECTS["tom-rope"], steps=2, refining_steps=2, batch=4, general=1, window=16, width=16, heads=2, vocabulary=400
)


@pytest.fixture(autouse=True)
def _less_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_TASK_CHARACTERS", 20_000)
    monkeypatch.setattr(subject, "_GENERAL_CHARACTERS", 5_000)


@pytest.fixture
def text_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    rows = [{"text": f"def f{n}(x):\n    return x + {n}\n", "domain": "code"} for n in range(300)]
    for split in ("train", "calibration", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_model(directory).state_dict()


def test_a_subject_is_trained_saved_and_answers_like_any_checkpoint(tmp_path: Path, text_dir: Path) -> None:
    train_subject(SMALL, text_dir, tmp_path / "out", seed=0, cancel=CancelToken(), progress=silent)
    model, tokenizer = load_model(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    answers = Asked(suite(0)[:8], tokenizer).answers(model, cancel=CancelToken())
    assert answers.answer_nats.max() < 0
    with pytest.raises(InvalidInput, match="not empty"):
        train_subject(SMALL, text_dir, tmp_path / "out", seed=0, cancel=CancelToken(), progress=silent)


def test_an_interrupted_run_ends_in_the_same_weights(tmp_path: Path, text_dir: Path) -> None:
    train_subject(SMALL, text_dir, tmp_path / "whole", seed=1, cancel=CancelToken(), progress=silent)
    cancel = CancelToken()
    steps: list[int] = []
    run = TaskTexts.batch

    def stopping(self: TaskTexts, step: int, count: int, shares: Shares, *, contrasted: bool) -> Batch:
        steps.append(step)
        if step == 2:
            cancel.cancel()
        return run(self, step, count, shares, contrasted=contrasted)

    TaskTexts.batch = stopping  # type: ignore[method-assign]
    try:
        options = {"seed": 1, "progress": silent, "checkpoint_dir": tmp_path / "state"}
        with pytest.raises(Cancelled):
            train_subject(SMALL, text_dir, tmp_path / "out", cancel=cancel, **options)
        train_subject(SMALL, text_dir, tmp_path / "out", cancel=CancelToken(), **options)
    finally:
        TaskTexts.batch = run  # type: ignore[method-assign]
    assert steps == [0, 1, 2, 3]
    whole, resumed = _weights(tmp_path / "whole"), _weights(tmp_path / "out")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_twin_differs_by_the_rotation_alone() -> None:
    models = [new_model(recipe.shape(), 0).eval() for recipe in SUBJECTS.values()]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    ids = torch.tensor([[1, 5, 9, 7, 11]])
    # The first position is turned by nothing; later ones are, in one model of the two.
    with torch.no_grad():
        first, second = (model(ids).logits[0] for model in models)
    torch.testing.assert_close(first[0], second[0])
    assert (first[4] - second[4]).abs().max() > 1e-3


def test_what_is_learned_first_of_all_are_answers(text_dir: Path, tmp_path: Path) -> None:
    train_subject(SMALL, text_dir, tmp_path / "out", seed=0, cancel=CancelToken(), progress=silent)
    tokenizer = load_tokenizer(tmp_path / "out")
    ids, answers = TaskTexts(tokenizer, seed=0).batch(0, 8, SHARES, contrasted=True)
    assert ids.shape[0] == answers.shape[0] == 8
    assert answers.shape[1] == ids.shape[1] - 1
    for row, marks in zip(ids, answers, strict=True):
        text = tokenizer.decode(row)
        places = marks.nonzero().flatten() + 1
        word = tokenizer.decode(row[places]).split()
        # Every answer stands in the text just before a full stop; a list has four, a negation one.
        assert len(word) in (1, 2, 4)
        assert all(f" {each}." in text for each in word)
    again = TaskTexts(tokenizer, seed=0).batch(0, 8, SHARES, contrasted=True)[0]
    assert torch.equal(ids, again)
