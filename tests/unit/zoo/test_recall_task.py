"""The recall task: every answer follows from the pairs, from nowhere else, and stands where a window rarely looks."""

from __future__ import annotations

import pytest
import torch

from assay.errors import InvalidInput
from assay.zoo.attention_recipes import CONTEXT
from assay.zoo.recall_task import recall_batch, recall_questions, recall_tokenizer
from assay.zoo.recall_words import NOISE_ID, ONE_HOP_ID, SYMBOL_ID, TWO_HOPS_ID, VOCABULARY
from assay.zoo.recipes import recipe


def is_symbol(token: int) -> bool:
    return SYMBOL_ID <= token < NOISE_ID


def looked_up(row: list[int]) -> dict[int, int]:
    """The pairs of a sequence, up to its first question."""
    context = row[: min(row.index(mark) for mark in (ONE_HOP_ID, TWO_HOPS_ID) if mark in row)]
    found, position = {}, 0
    while position < len(context):
        if is_symbol(context[position]):
            found[context[position]] = context[position + 1]
            position += 1
        position += 1
    return found


@pytest.mark.parametrize(("pairs", "tokens"), [(2, 20), (6, 60), (24, 512)])
def test_every_answer_of_a_batch_follows_from_its_pairs(pairs: int, tokens: int) -> None:
    batch = recall_batch(16, pairs, tokens, torch.Generator().manual_seed(0))
    two_hops = 0
    for row, answers in zip(batch.ids.tolist(), batch.answers, strict=True):
        value_of = looked_up(row)
        assert len(value_of) == pairs
        asked = []
        for position in (answers.nonzero()[:, 0] + 1).tolist():
            mark, key, answer = row[position - 2 : position + 1]
            hops = {ONE_HOP_ID: 1, TWO_HOPS_ID: 2}[mark]
            assert answer == (value_of[key] if hops == 1 else value_of[value_of[key]])
            asked.append((hops, key))
            two_hops += hops == 2
        assert len(set(asked)) == len(asked) == pairs
    assert two_hops == 16 * (pairs // 2)


def test_with_one_hop_asked_for_no_pair_is_chained() -> None:
    batch = recall_batch(16, 8, 80, torch.Generator().manual_seed(0), hops=1)
    assert not bool((batch.ids == TWO_HOPS_ID).any())
    for row in batch.ids.tolist():
        value_of = looked_up(row)
        assert not value_of.keys() & set(value_of.values())


def test_questions_say_their_answer_and_where_it_comes_from() -> None:
    questions = recall_questions(200, 24, 512, seed=5)
    assert questions.prompts.shape == (200, 512)
    assert questions.hops.tolist() == [1, 2] * 100
    for row, answer, hops, needed in zip(
        questions.prompts.tolist(), questions.answers.tolist(), questions.hops.tolist(), questions.needed.tolist(),
        strict=True,
    ):  # fmt: skip
        value_of = looked_up(row)
        first, second = needed
        assert row[first] == row[-1]
        assert (row[second] == row[first + 1]) if hops == 2 else second == -1
        assert answer == (value_of[row[-1]] if hops == 1 else value_of[value_of[row[-1]]])


def test_a_window_of_a_tenth_sees_a_tenth_of_the_needed_pairs() -> None:
    # At a density of 20 % over causal pairs a plain window is a tenth of the sequence: what it sees of the pairs is
    # all that sink and window can know. 2,000 draws: three standard errors of a tenth are 0.02.
    questions = recall_questions(2000, 24, 1024, seed=0)
    in_window = (questions.needed >= 1024 - 102).float()
    assert in_window[questions.hops == 1, 0].mean() == pytest.approx(0.1, abs=0.03)
    both = in_window[questions.hops == 2].prod(1).mean()
    assert both < 0.03


def test_a_restated_pair_and_its_question_stand_so_many_times_in_a_row() -> None:
    questions = recall_questions(20, 6, 200, seed=4, restated=5)
    assert questions.question_tokens == 10
    for row, hops, (first, _) in zip(
        questions.prompts.tolist(), questions.hops.tolist(), questions.needed.tolist(), strict=True
    ):
        pair, question = row[first : first + 2], row[-2:]
        assert pair[0] == question[1]
        assert row[first : first + 10] == pair * 5
        assert not is_symbol(row[first + 10]) or row[first + 10 : first + 12] != pair
        assert question[0] == {1: ONE_HOP_ID, 2: TWO_HOPS_ID}[hops]
        assert row[-10:] == question * 5
        assert row[-12:-10] != question


def test_of_a_restated_question_the_answer_alone_is_learned() -> None:
    batch = recall_batch(16, 8, 250, torch.Generator().manual_seed(0), restated=3)
    hops = []
    for row, answers in zip(batch.ids.tolist(), batch.answers, strict=True):
        value_of = looked_up(row)
        assert len(value_of) == 8
        asked = []
        for position in (answers.nonzero()[:, 0] + 1).tolist():
            mark, key = row[position - 2 : position]
            assert row[position - 6 : position] == [mark, key] * 3
            assert row[position] == (value_of[key] if mark == ONE_HOP_ID else value_of[value_of[key]])
            asked.append((mark, key))
        assert len(set(asked)) == len(asked) == 4, "half as many questions as pairs"
        hops += [mark for mark, _ in asked]
    assert hops.count(ONE_HOP_ID) == hops.count(TWO_HOPS_ID)


def test_a_question_as_long_as_a_block_fills_the_last_one() -> None:
    # What the recipe for passages relies on: 8 times two tokens, at the end of 1024, are block 63 of 16.
    last = recipe("recall-passages").stages[-1]
    questions = recall_questions(8, last.pairs, CONTEXT, seed=0, restated=last.restated)
    assert questions.question_tokens == 16 == 2 * last.restated
    block = questions.prompts[:, -16:]
    assert bool((block[:, ::2] <= TWO_HOPS_ID).all())
    assert bool((block[:, 1::2] == block[:, -1:]).all())


def test_questions_are_a_pure_function_of_their_seed() -> None:
    first, again, other = (recall_questions(50, 8, 128, seed) for seed in (1, 1, 2))
    assert torch.equal(first.prompts, again.prompts)
    assert not torch.equal(first.prompts, other.prompts)


def test_prompts_of_one_context_differ_in_their_questions_alone() -> None:
    questions = recall_questions(40, 12, 200, seed=3, per_context=8)
    contexts = questions.prompts[:, :-2].view(5, 8, -1)
    assert bool((contexts == contexts[:, :1]).all())
    assert not torch.equal(contexts[0, 0], contexts[1, 0])
    assert len(set(questions.prompts[:8, -1].tolist())) > 1
    with pytest.raises(InvalidInput):
        recall_questions(41, 12, 200, seed=3, per_context=8)


@pytest.mark.parametrize(("pairs", "tokens"), [(1, 100), (25, 1000), (24, 100)])
def test_pairs_that_do_not_fit_are_refused(pairs: int, tokens: int) -> None:
    with pytest.raises(InvalidInput):
        recall_batch(2, pairs, tokens, torch.Generator().manual_seed(0))


def test_prompts_round_trip_through_the_tokenizer() -> None:
    tokenizer = recall_tokenizer()
    prompt = recall_questions(1, 4, 40, seed=0).prompts[0].tolist()
    text = tokenizer.decode(prompt)
    assert text.split()[-2] == "?1"
    assert tokenizer(text).input_ids == prompt
    assert len(tokenizer) == VOCABULARY
