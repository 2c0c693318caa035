from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from assay_tom_verifier.core.sensitivity.tasks import irony, unexpected_contents, unexpected_transfer
from assay_tom_verifier.core.sensitivity.tasks.item import Item
from assay_tom_verifier.core.sensitivity.tasks.suite import drawn_items, suite
from assay_tom_verifier.core.sensitivity.tasks.words import CONTENTS, NAMES, PACKAGES, PLACES, THINGS

SUITE = suite(0)


def _of(task: str) -> list[Item]:
    return [item for item in SUITE if item.cell.task == task]


def test_the_suite_has_every_cell_of_every_template_with_both_questions() -> None:
    # 20 templates x 4 conditions x 2 orders x 2 questions; 12 x 2 x 2 x 2; 40 lists of four; 40 texts of six kinds.
    counts = Counter(item.cell.task for item in SUITE)
    assert counts == {
        "unexpected-contents": 320,
        "unexpected-transfer": 320,
        "irony": 96,
        "localisation": 160,
        "language": 240,
    }
    assert len({(item.cell, item.asks) for item in SUITE}) == len(SUITE)


@pytest.mark.parametrize("task", ["unexpected-contents", "unexpected-transfer"])
def test_a_belief_is_false_in_one_condition_of_four_and_true_in_the_others(task: str) -> None:
    answers = {(item.cell, item.asks): item.answer for item in _of(task)}
    for cell in {item.cell for item in _of(task)}:
        agrees = answers[cell, "belief"] == answers[cell, "reality"]
        assert agrees == (cell.condition != "false belief")


@pytest.mark.parametrize("task", ["unexpected-contents", "unexpected-transfer", "irony"])
def test_reversal_exchanges_the_two_words(task: str) -> None:
    for item in _of(task):
        twin = next(
            other
            for other in _of(task)
            if other.asks == item.asks
            and other.cell.reversed != item.cell.reversed
            and (other.cell.template, other.cell.condition) == (item.cell.template, item.cell.condition)
        )
        assert (twin.answer, twin.foil) == (item.foil, item.answer)


def test_no_single_rule_of_thumb_passes_the_false_belief_tasks() -> None:
    # Every answer right by position or by "what is real" would show the tasks ask for no mind.
    for task in ("unexpected-contents", "unexpected-transfer"):
        beliefs = [item for item in _of(task) if item.asks == "belief"]
        last = sum(_later(item.story, item.answer, item.foil) for item in beliefs) / len(beliefs)
        assert 0.2 < last < 0.8


def _later(story: str, answer: str, foil: str) -> bool:
    return story.rfind(answer) > story.rfind(foil)


def test_irony_means_the_other_word_and_sincerity_the_same() -> None:
    answers = {(item.cell, item.asks): item.answer for item in _of("irony")}
    for cell in {item.cell for item in _of("irony")}:
        assert (answers[cell, "belief"] == answers[cell, "reality"]) == (cell.condition == "sincere")


def test_wordings_are_spread_and_no_combination_of_them_repeats() -> None:
    for task, least in ((unexpected_contents, 4), (unexpected_transfer, 4), (irony, 3)):
        wordings = [template.wording for template in task.TEMPLATES]
        assert len(set(wordings)) == len(wordings)
        for role in zip(*wordings, strict=True):
            assert min(Counter(role).values()) >= least


def test_drawn_templates_are_never_fixed_ones_and_follow_the_seed() -> None:
    fixed_pairs = {frozenset(template.contents) for template in unexpected_contents.TEMPLATES}
    drawn = list(islice(drawn_items(5, "unexpected-contents"), 300))
    assert not any(frozenset((items[0].answer, items[0].foil)) in fixed_pairs for items in drawn)
    fixed_prompts = {item.prompt for item in SUITE}
    for task in ("unexpected-contents", "unexpected-transfer", "irony"):
        for items in islice(drawn_items(1, task), 200):
            assert not any(item.prompt in fixed_prompts for item in items)
    assert drawn == list(islice(drawn_items(5, "unexpected-contents"), 300))
    assert drawn[:5] != list(islice(drawn_items(6, "unexpected-contents"), 5))


def test_seeds_draw_other_names_for_the_same_templates() -> None:
    other = suite(1)
    assert [item.cell for item in other] == [item.cell for item in SUITE]
    told = [(a.answer, b.answer) for a, b in zip(SUITE, other, strict=True) if a.cell.task == "unexpected-contents"]
    assert all(one == another for one, another in told)
    assert [item.prompt for item in other] != [item.prompt for item in SUITE]


def test_words_of_each_kind_differ_and_texts_are_filled_in() -> None:
    for words in (NAMES, PACKAGES, CONTENTS, PLACES, THINGS):
        assert len(set(words)) == len(words)
    assert not any("{" in item.prompt or "  " in item.prompt or item.prompt.endswith(" ") for item in SUITE)
