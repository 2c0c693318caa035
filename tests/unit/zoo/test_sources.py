"""What stages train on: repeats, copies, mixes of domains, instructions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.zoo.batches import Batches
from assay.zoo.instruct import ANSWER, REQUEST, instruct_batch, instruction, instructions
from assay.zoo.passages import MIN_CHARACTERS, read_passages
from assay.zoo.recipe import Recipe, Stage
from assay.zoo.recipes import RECIPES
from assay.zoo.repeats import MIN_GAP_SHARE, RECOGNISED_AFTER, copies_batch, repeats_batch
from assay.zoo.tokenizer import END_ID, train_tokenizer

CANCEL = CancelToken()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_repeat_stood_there_before_with_a_gap_between() -> None:
    # Passage i is its own number over and over, so that what stands where can be read off.
    passages = [[i] * 20 for i in range(2, 500)]
    batch = repeats_batch(passages, 32, 400, seeded())
    assert batch.ids.shape == batch.repeated.shape == (32, 400)
    share = batch.repeated.float().mean().item()
    # Even odds once a quarter has passed, less what is not yet recognised.
    assert 0.15 < share < 0.45
    for row, repeated in zip(batch.ids.tolist(), batch.repeated.tolist(), strict=True):
        for position in range(400):
            if repeated[position] and position % 20 == RECOGNISED_AFTER:
                start = position - RECOGNISED_AFTER
                assert row.index(row[start]) <= start - 400 * MIN_GAP_SHARE
    assert torch.equal(batch.ids, repeats_batch(passages, 32, 400, seeded()).ids)


def test_a_copy_begins_anywhere_and_is_known_from_its_second_token_on() -> None:
    ids, known = copies_batch(64, 32, first_id=4, vocabulary=52, generator=seeded())
    first, again = ids[:, :16], ids[:, 16:]
    assert first.min() >= 4
    assert first.max() < 52
    shifts = set()
    for row, copy in zip(first.tolist(), again.tolist(), strict=True):
        shift = row.index(copy[0])
        assert copy == row[shift:] + row[:shift]
        shifts.add(shift)
    assert len(shifts) > 8  # at one fixed distance, copying needs no look at the tokens
    assert known.sum(1).tolist() == [15] * 64


def test_skewed_copies_meet_few_tokens_often_and_all_of_them_now_and_then() -> None:
    ids, known = copies_batch(2000, 32, first_id=2, vocabulary=202, generator=seeded(), skew=1.0)
    first, again = ids[:, :16], ids[:, 16:]
    assert all(len(set(row)) == 16 for row in first.tolist())
    assert torch.equal(first.sort(1).values, again.sort(1).values)
    assert known.sum(1).tolist() == [15] * 2000
    counts = first.flatten().bincount(minlength=202)[2:]
    assert counts.min() > 0
    # A tenth of the tokens make up over four times their even share of what is read.
    assert counts[:20].sum() > 0.4 * counts.sum()
    # No place of the sequence is the frequent ones' own.
    assert abs((first[:, :8] < 22).float().mean() - (first[:, 8:] < 22).float().mean()) < 0.02


def test_a_mix_draws_from_its_domains_in_their_shares(micro: Recipe, tmp_path: Path) -> None:
    # Two domains that share no word show where each window came from.
    for split in ("train", "calibration", "validation", "test"):
        rows = [f'{{"text": "{"a" * 200}", "domain": "code"}}', f'{{"text": "{"b" * 200}", "domain": "docstring"}}']
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    tokenizer = train_tokenizer(tmp_path, vocabulary=258)
    batches = Batches(micro, tmp_path, "train", tokenizer, cancel=CANCEL)
    stage = Stage("mixed", 1, 400, 40, 1e-3, 1e-3, mix=(("docstring", 0.25), ("code", 0.75)))
    windows, learned = batches.draw(stage, seeded())
    assert (tuple(windows.shape), learned) == ((400, 41), None)
    a, b = (tokenizer.convert_tokens_to_ids(letter) for letter in "ab")
    from_code = (windows == a).any(1)
    assert bool((from_code ^ (windows == b).any(1)).all())
    assert from_code.float().mean().item() == pytest.approx(0.75, abs=0.07)  # three standard errors of 400 draws
    with pytest.raises(InvalidInput, match="prose"):
        batches.draw(replace(stage, mix=(("prose", 1.0),)), seeded())


def test_passages_are_of_some_length_and_different(small_text_dir: Path) -> None:
    passages = list(read_passages(small_text_dir, "train", cancel=CANCEL))
    assert len(passages) > 500
    assert len(set(passages)) == len(passages)
    assert min(map(len, passages)) >= MIN_CHARACTERS


def test_an_instruction_asks_for_a_body_by_its_head() -> None:
    assert instruction("def f(x):\n    return x\n") == (f"{REQUEST}def f(x):\n{ANSWER}", "    return x\n")
    assert instruction("only a line\n") is None


def test_answers_alone_are_learned(small_text_dir: Path) -> None:
    tokenizer = train_tokenizer(small_text_dir, vocabulary=512)
    passages = list(read_passages(small_text_dir, "train", cancel=CANCEL))
    pairs = instructions(passages, tokenizer, cancel=CANCEL)
    ids, learned = instruct_batch(pairs, 8, 300, seeded())
    assert ids.shape == (8, 300)
    assert learned.shape == (8, 299)
    for row, answered in zip(ids, learned, strict=True):
        asked = tokenizer.decode(row[1:][~answered])
        assert ANSWER.strip() in asked or not bool(answered.any())
        assert not bool((row[1:][~answered] == END_ID).any())  # an end mark closes an answer
        assert REQUEST.strip() not in tokenizer.decode(row[1:][answered])


def test_stages_follow_one_another_with_rates_of_their_own() -> None:
    fox = RECIPES["fox-tiny"]
    assert [stage.sequence_length for stage in fox.stages] == [2048 // 32, 4096 // 32, 8192 // 32]
    assert fox.stage_at(0) == (fox.stages[0], 0)
    assert fox.stage_at(fox.stages[0].steps) == (fox.stages[1], 0)
    assert fox.stage_at(fox.steps - 1) == (fox.stages[2], fox.stages[2].steps - 1)
    with pytest.raises(ValueError):
        fox.stage_at(fox.steps)


def test_curriculum_and_one_stage_read_as_many_tokens_of_each_domain() -> None:
    def tokens(name: str, domain: str) -> float:
        return sum(
            stage.steps * stage.batch * stage.sequence_length * dict(stage.mix)[domain]
            for stage in RECIPES[name].stages
        )

    for domain in ("docstring", "code"):
        assert tokens("fox-tiny", domain) == pytest.approx(tokens("fox-tiny-one-stage", domain), rel=1e-3)
