"""BigToM (Gandhi et al. 2023, arXiv:2306.15448): stories in free English, each question with two answers.

Its stories are none of the grammar's, so that no rule answers them: what can be measured is which of the two answers a
language model finds likelier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import LanguageModel
from assay.progress import Progress, silent
from assay_tom_verifier.core.answer_odds import nats_after
from assay_tom_verifier.core.evaluate import LabelledRow

CONDITIONS = {"true_belief": "aware", "false_belief": "not_aware"}
# What is told last, what is asked, and what is answered; each ends in the condition's word, but the question.
FORMS = {
    "forward_belief": ("{}_of_event", "belief_question", "belief_answer_{}"),
    "forward_action": ("{}_of_event", "action_question", "action_answer_{}"),
    "backward_belief": ("action_{}", "belief_question", "belief_answer_{}"),
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Choice:
    """story: told with the condition's sentence at its end. other: the answer that is right under the other condition.

    form, condition: of FORMS and CONDITIONS. row: of the published table.
    """

    row: int
    form: str
    condition: str
    story: str
    question: str
    right: str
    other: str

    def labelled(self) -> LabelledRow:
        """As `eval` takes it, a sentence a line."""
        return LabelledRow(
            id=f"row_{self.row}/{self.form}/{self.condition}",
            story="\n".join(_SENTENCE_END.split(self.story)),
            question=self.question,
            published_answer=self.right,
            group=f"BigToM/{self.form}/{self.condition}",
        )


@dataclass(frozen=True)
class FormResult:
    """Shares of the stories. both: right under both conditions, which no liking for one of the answers can give: it is
    right under one and wrong under the other, so that `true_belief` and `false_belief` average to a half.
    """

    stories: int
    true_belief: float
    false_belief: float
    both: float


def is_bigtom(record: Mapping[str, object]) -> bool:
    return "belief_answer_not_aware" in record


def read_bigtom(record: Mapping[str, object]) -> Iterator[Choice]:
    """Six choices of one row: each form under each condition. InvalidInput for a part that is missing or no text."""
    row = record.get("row")
    if not isinstance(row, int):
        raise InvalidInput("row.row", "is missing or no number; give rows of the form of BigToM's")
    for form, (told, asked, answer) in FORMS.items():
        for condition, word in CONDITIONS.items():
            (other,) = (each for each in CONDITIONS.values() if each != word)
            yield Choice(
                row,
                form,
                condition,
                f"{_text(record, 'story')} {_text(record, told.format(word))}",
                _text(record, asked),
                _text(record, answer.format(word)),
                _text(record, answer.format(other)),
            )


def score_choices(
    model: LanguageModel, choices: Sequence[Choice], *, cancel: CancelToken, progress: Progress = silent
) -> dict[str, FormResult]:
    """By form. The likelier answer is the one with more nats in all after story and question; equal ones are wrong.

    Raises what the port raises, and InvalidInput where a story lacks one of its conditions.
    """
    found: dict[tuple[str, int], dict[str, bool]] = {}
    for done, choice in enumerate(choices, 1):
        cancel.check()
        prompt = f"{choice.story}\nQuestion: {choice.question}\nAnswer:"
        scores = model.score([f"{prompt} {answer}" for answer in (choice.right, choice.other)], cancel=cancel)
        right, other = (nats_after(score, len(prompt.encode())) for score in scores)
        found.setdefault((choice.form, choice.row), {})[choice.condition] = right > other
        progress(done, len(choices), "choices")
    if any(len(conditions) < len(CONDITIONS) for conditions in found.values()):
        raise InvalidInput("choices", "lack one of a story's conditions; give all of a row's")
    results = {}
    for form in dict.fromkeys(form for form, _ in found):
        rows = [conditions for (own, _), conditions in found.items() if own == form]
        shares = {condition: fmean(row[condition] for row in rows) for condition in CONDITIONS}
        results[form] = FormResult(len(rows), **shares, both=fmean(all(row.values()) for row in rows))
    return results


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"row.{name}", "is missing or no text; give rows of the form of BigToM's")
    return value.strip()
