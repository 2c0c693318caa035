"""Published answers against the rules, counted: how many agree, by group, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.grammar import SENTENCES
from assay_tom_verifier.core.stories.parse import parse_question, parse_story
from assay_tom_verifier.core.stories.tables import TableEngine
from assay_tom_verifier.core.traces.format import NULL, claims

MOST_REASON_CHARACTERS = 240  # of a row's; thousands of them are one message


@dataclass(frozen=True)
class LabelledRow:
    """A question about a story with its published answer. group: by what rows are counted apart."""

    id: str
    story: str
    question: str
    published_answer: str
    group: str = ""


@dataclass(frozen=True)
class RowVerdict:
    """answer: a container or NULL, None for a row that could not be read, and then `refused` says why."""

    id: str
    answer: str | None
    agrees: bool
    refused: str = ""


@dataclass
class Agreement:
    """Counts of rows. agree + unparsed <= total."""

    total: int = 0
    agree: int = 0
    unparsed: int = 0

    def add(self, verdict: RowVerdict) -> None:
        self.total += 1
        self.agree += verdict.agrees
        self.unparsed += verdict.answer is None


@dataclass(frozen=True)
class Evaluation:
    """overall and by_group count the same rows; rows: a verdict for each, in order."""

    overall: Agreement
    by_group: Mapping[str, Agreement]
    rows: tuple[RowVerdict, ...]


def read_row(record: Mapping[str, object]) -> LabelledRow:
    """A row of the form of Hi-ToM's; its group is prompting/length/deception/order, "CoT/length_1/no_tell/order_2".

    Parts that the record lacks are left out of the group. Raises InvalidInput where id, story, question or
    published_answer is missing or no text.
    """
    fields = {}
    for name in ("id", "story", "question", "published_answer"):
        value = record.get(name)
        if not isinstance(value, str):
            raise InvalidInput(f"row.{name}", "is missing or no text; give rows of the form of Hi-ToM's")
        fields[name] = value
    group = (
        record.get("prompting"),
        f"length_{record['length']}" if "length" in record else None,
        ("tell" if record["deception"] else "no_tell") if "deception" in record else None,
        f"order_{record['order']}" if "order" in record else None,
    )
    return LabelledRow(**fields, group="/".join(str(part) for part in group if part is not None))


def evaluate_rows(
    rows: Iterable[LabelledRow], profile: Profile = Profile.HITOM, cancel: CancelToken | None = None
) -> Evaluation:
    """Answers every row by the rules and holds it against the published answer.

    A row whose story or question is none of the grammar's is counted as unparsed, with its reason; never as wrong
    or right. cancel: polled once a line of each row's story.
    """
    overall = Agreement()
    groups: dict[str, Agreement] = {}
    verdicts = []
    for row in rows:
        verdict = _verdict(row, profile, cancel)
        overall.add(verdict)
        groups.setdefault(row.group, Agreement()).add(verdict)
        verdicts.append(verdict)
    return Evaluation(overall, groups, tuple(verdicts))


def _verdict(row: LabelledRow, profile: Profile, cancel: CancelToken | None) -> RowVerdict:
    try:
        story, question = parse_story(row.story, cancel=cancel).story, parse_question(row.question)
        beliefs = TableEngine().believe(story, [question.chain], question.thing, profile, cancel)
        belief = beliefs[-1][question.chain]
    except (InvalidInput, ResourceExhausted) as error:
        return RowVerdict(row.id, None, False, _briefly(error.message))
    answer = NULL if belief.container is None else belief.container
    return RowVerdict(row.id, answer, claims(row.published_answer, belief.container))


def _briefly(reason: str) -> str:
    """Without the sentences of the grammar, which every row would repeat."""
    brief = reason.replace(SENTENCES, "parse the story alone to see which are")
    return brief if len(brief) <= MOST_REASON_CHARACTERS else f"{brief[:MOST_REASON_CHARACTERS]}..."
