from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from assay.cancel import CancelToken
from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.answers import Answers, Asked
from assay_tom_verifier.core.sensitivity.evaluate import (
    Measured,
    change,
    measure,
    nats_change,
    passed,
    standing,
    task_scores,
    tom_score,
)
from assay_tom_verifier.core.sensitivity.parameter_mask import ParameterMask
from assay_tom_verifier.core.sensitivity.scan import scan
from assay_tom_verifier.core.sensitivity.tasks.item import Item
from assay_tom_verifier.core.sensitivity.tasks.suite import suite

SUITE = suite(0)


def _answers(right: list[bool]) -> Answers:
    values = np.array(right)
    return Answers(values, values.astype(float), 1.0 - values)


def _all_but(wrong: object) -> Answers:
    """All right, but for items of which `wrong` says so."""
    return _answers([not wrong(item) for item in SUITE])  # type: ignore[operator]


def test_a_cell_is_passed_only_with_both_questions_right() -> None:
    # One of two questions wrong in each false-belief cell: 1 of 4 conditions lost, the score is 3/4, not 7/8.
    answers = _all_but(lambda item: item.cell.condition == "false belief" and item.asks == "belief")
    assert passed(SUITE, answers, ["unexpected-contents"]).score == 0.75
    assert tom_score(SUITE, answers) == 0.75
    assert task_scores(SUITE, answers)["language"] == 1.0


def test_clusters_are_templates() -> None:
    found = passed(SUITE, _answers([True] * len(SUITE)))
    assert len(found.cells) == 20 * 8 + 20 * 8 + 12 * 4
    assert len(set(found.clusters.tolist())) == 52


def test_a_drop_has_an_interval_as_wide_as_templates_differ() -> None:
    # Half of the templates lose all, half nothing: the drop is 0.5, and its interval that of 20 coin-like templates:
    # 1.96 * 0.5 / sqrt(20) = 0.22 to each side. By cells, 160 of them, it would be 0.08.
    before = _answers([True] * len(SUITE))
    after = _all_but(lambda item: item.cell.template % 2 == 0)
    found = change(SUITE, [before], [after], ["unexpected-contents"])
    assert found.mean == -0.5
    assert found.clusters == 20
    assert 0.17 < found.mean - found.low < 0.27
    # Five seeds with the same templates are no 100 templates.
    repeated = change(SUITE, [before] * 5, [after] * 5, ["unexpected-contents"])
    assert repeated.clusters == 20
    assert 0.17 < repeated.mean - repeated.low < 0.27


def test_perplexity_changes_are_paired_by_window() -> None:
    answers = _answers([True] * len(SUITE))
    nats = np.linspace(1.0, 4.0, 30)
    # Windows differ by up to 3 nats, the change is 0.1 in each: paired, its interval has no width.
    found = nats_change([Measured(answers, nats)], [Measured(answers, nats + 0.1)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_model_that_does_not_answer_gives_nothing_to_conclude() -> None:
    # Four of five cells is enough, one less is not; irony and probes do not count.
    good = standing(SUITE, _all_but(lambda item: item.cell.template % 5 == 0))
    assert good.conclusive
    bad = standing(SUITE, _all_but(lambda item: item.cell.template % 5 == 0 or item.cell.template == 1))
    assert not bad.conclusive
    assert "nothing can be concluded: unperturbed it passes unexpected-contents 75 %" in bad.shown()


def test_an_untrained_model_is_scanned_measured_and_refused(
    llama_for_words: PreTrainedModel, word_tokenizer: PreTrainedTokenizerFast, windows: Windows
) -> None:
    items: list[Item] = SUITE[::9]
    asked = Asked(items, word_tokenizer)
    found = scan(llama_for_words, word_tokenizer, windows, samples=6, cancel=CancelToken())
    mask: ParameterMask = found.mask(0.1)
    before = measure(llama_for_words, asked, windows, cancel=CancelToken())
    after = measure(llama_for_words, asked, windows, mask=mask, cancel=CancelToken())
    again = measure(llama_for_words, asked, windows, cancel=CancelToken())
    assert not standing(items, before.answers).conclusive
    assert mask.masked > 50
    assert not np.array_equal(before.nats, after.nats)
    np.testing.assert_array_equal(before.nats, again.nats)
    np.testing.assert_array_equal(before.answers.answer_nats, again.answers.answer_nats)
    assert before.perplexity == pytest.approx(float(np.exp(before.nats.mean())))
