"""BigToM's development rows: what can be read of them, and how a language model's choice between answers is counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import Score
from assay_tom_verifier.core.bigtom import FORMS, read_bigtom, score_choices
from assay_tom_verifier.core.evaluate import evaluate_rows

_DEFAULT = Path(__file__).resolve().parents[3] / "../shared/data"
NAMES = ("story", "aware_of_event", "not_aware_of_event", "action_aware", "action_not_aware", "belief_question")
NAMES += (
    "action_question",
    *(f"{kind}_answer_{word}" for kind in ("belief", "action") for word in ("aware", "not_aware")),
)
RECORD = {name: f"The {name}." for name in NAMES} | {"row": 4}


@pytest.fixture(scope="module")
def records():
    path = Path(os.environ.get("ASSAY_DATA", _DEFAULT)) / "tom-verifier" / "bigtom_dev.jsonl"
    if not path.is_file():
        pytest.skip("needs tom-verifier/bigtom_dev.jsonl below the folder that ASSAY_DATA names")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_six_choices_and_none_of_them_is_the_grammars(records):
    rows = [choice.labelled() for record in records for choice in read_bigtom(record)]
    assert len(rows) == len({row.id for row in rows}) == 600
    found = evaluate_rows(rows)
    assert (found.overall.total, found.overall.agree, found.overall.unparsed) == (600, 0, 600)
    assert len(found.by_group) == 6
    assert all(group.total == 100 for group in found.by_group.values())


def test_a_choice_is_told_under_each_condition():
    choices = {(choice.form, choice.condition): choice for choice in read_bigtom(RECORD)}
    assert len(choices) == 6
    one = choices["backward_belief", "false_belief"]
    assert one.story == "The story. The action_not_aware."
    assert (one.right, one.other) == ("The belief_answer_not_aware.", "The belief_answer_aware.")
    assert one.labelled().story == "The story.\nThe action_not_aware."
    with pytest.raises(InvalidInput, match="belief_question"):
        list(read_bigtom({**RECORD, "belief_question": ""}))


class Reader:
    """Knows what is right where it is told `known`, and likes the answer of `liked` elsewhere; a token a byte."""

    def __init__(self, known, liked):
        self.known, self.liked = known, liked

    def score(self, texts, *, cancel):
        return [self._score(text) for text in texts]

    def _score(self, text):
        prompt, _, answer = text.partition("\nAnswer:")
        told = next((word for word in ("not_aware", "aware") if f" {self.known.format(word)}." in prompt), "")
        wanted = told if self.known else self.liked
        best = answer.endswith(f"answer_{wanted}.")
        size = len(text.encode())
        # What precedes the answer is as unlikely as can be, and counts for nothing.
        nats = [-9.0] * (size - len(answer)) + [-1.0 if best else -2.0] * len(answer)
        return Score((0,) * size, tuple(nats), tuple((index, index + 1) for index in range(size)))


def test_a_liking_for_one_answer_is_right_half_of_the_time_and_never_under_both():
    choices = list(read_bigtom(RECORD))
    for form, result in score_choices(Reader("", "aware"), choices, cancel=CancelToken()).items():
        assert form in FORMS
        assert (result.stories, result.true_belief, result.false_belief, result.both) == (1, 1.0, 0.0, 0.0)


def test_reading_what_was_told_is_right_under_both():
    found = score_choices(Reader("{}_of_event", ""), list(read_bigtom(RECORD)), cancel=CancelToken())
    assert found["forward_belief"].both == found["forward_action"].both == 1.0
    with pytest.raises(InvalidInput, match="conditions"):
        score_choices(Reader("", "aware"), list(read_bigtom(RECORD))[:1], cancel=CancelToken())
