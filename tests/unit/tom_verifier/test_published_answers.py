"""Published answers held against the rules: counted, and those that contradict them named."""

from __future__ import annotations

import pytest
from unit.tom_verifier.hitom import hitom_rows

from assay.errors import InvalidInput
from assay_tom_verifier.core.audit import audit_rows
from assay_tom_verifier.core.evaluate import Agreement, LabelledRow, evaluate_rows, read_row
from assay_tom_verifier.core.stories.beliefs import Profile

STORY = """1 Ava and Ben entered the hall.
2 The kiwi is in the red_box.
3 Ava exited the hall.
4 Ben moved the kiwi to the blue_box.
5 Ben exited the hall.
6 Ava entered the porch.
7 The fig is in the tin."""


def row(published: str, question: str = "Where does Ava think the kiwi is?", story: str = STORY) -> LabelledRow:
    return LabelledRow(f"{question} {published}", story, question, published, "g")


def test_rows_are_counted_by_group() -> None:
    rows = [
        row("red_box"), row("blue_box"), row("red_box", story="Ava vanished."), row("red_box", "Who has the kiwi?"),
        row("Null", "Where does Ben think the fig is?"), row("red_box", "Where does Zoe think the kiwi is?"),
    ]  # fmt: skip
    found = evaluate_rows(rows)
    assert found.overall == found.by_group["g"] == Agreement(total=6, agree=2, unparsed=3)
    assert [verdict.answer for verdict in found.rows] == ["red_box", "red_box", None, None, "Null", None]
    assert "line 1" in found.rows[2].refused
    assert "Zoe never enters" in found.rows[5].refused


def test_no_rows_agree_on_nothing() -> None:
    assert evaluate_rows([]).overall == Agreement(0, 0, 0)


def test_a_row_is_read_with_its_group() -> None:
    record = {"id": "a", "story": "s", "question": "q", "published_answer": "p"}
    assert read_row(record) == LabelledRow("a", "s", "q", "p", "")
    grouped = record | {"prompting": "CoT", "length": 1, "deception": False, "order": 2}
    assert read_row(grouped).group == "CoT/length_1/no_tell/order_2"
    for broken in ({**record, "story": 3}, {"id": "a"}):
        with pytest.raises(InvalidInput, match=r"row\.story"):
            read_row(broken)


@pytest.mark.parametrize(
    ("published", "remark"),
    [
        ("blue_box", "line 4 puts it there while Ava is not in the hall"),
        ("tin", "line 7 names it for the fig, not the kiwi"),
        ("sofa", "no sentence puts anything in the sofa"),
    ],
)
def test_a_contradiction_is_derived(published: str, remark: str) -> None:
    found = audit_rows([row(published), row("red_box"), row("red_box", story="Ava vanished.")])
    assert (found.audited, found.unparsed) == (2, 1)
    (contradicted,) = found.contradicted
    assert (contradicted.answer, contradicted.remark) == ("red_box", remark)
    assert [(each.line, each.container) for each in contradicted.derivation] == [(2, "red_box")]
    assert contradicted.derivation[0].rule == "Ava was in the hall when it was put there"


def test_a_derivation_ends_in_the_answer() -> None:
    (contradicted,) = audit_rows([row("red_box", "Where does Ben think the kiwi is?")]).contradicted
    assert [(each.line, each.container) for each in contradicted.derivation] == [(2, "red_box"), (4, "blue_box")]
    assert contradicted.remark == "line 2 brings this belief there, and a later line elsewhere"


def test_three_published_answers_of_hitom_contradict_its_rules() -> None:
    rows = hitom_rows()
    found = evaluate_rows(rows)
    assert found.overall == Agreement(total=200, agree=197, unparsed=0)
    assert len(found.by_group) == 20
    assert all(group.total == 10 for group in found.by_group.values())
    named = audit_rows(rows).contradicted
    assert {each.id for each in named} == {verdict.id for verdict in found.rows if not verdict.agrees}
    assert sorted(each.id for each in named) == [f"Tell/CoT/length_2/sample_3/order_{order}" for order in (2, 3, 4)]
    assert all(each.derivation[-1].container == each.answer for each in named)


def test_hitom_claims_are_a_convention_that_logic_contradicts() -> None:
    """Orders 0 and 1 agree in both profiles; beyond, common knowledge gives other answers after claims."""
    rows = hitom_rows()
    found = evaluate_rows(rows, Profile.COMMON_KNOWLEDGE)
    assert found.overall == Agreement(total=200, agree=184, unparsed=0)
    silent = [verdict.agrees for row, verdict in zip(rows, found.rows, strict=True) if "/no_tell/" in row.group]
    low = [verdict.agrees for row, verdict in zip(rows, found.rows, strict=True) if row.group[-1] in "01"]
    assert all(silent)
    assert all(low)
