"""Story and question text."""

from __future__ import annotations

import unicodedata

import pytest
from unit.tom_verifier.hitom import hitom_rows
from unit.tom_verifier.stories.wild import wild_story

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import (
    Enter,
    Exit,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
)
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.grammar import read_sentence
from assay_tom_verifier.core.stories.parse import (
    MOST_LINES,
    parse_question,
    parse_story,
    write_question,
)

STORY = "1 Ava and Ben entered the hall.\n2 The peas is in the red_box.\n"


@pytest.mark.parametrize(
    ("sentence", "event"),
    [
        ("Ava entered the hall.", Enter(("Ava",), "hall")),
        ("Ava and Ben entered the hall.", Enter(("Ava", "Ben"), "hall")),
        ("Ava, Ben and Cleo entered the hall.", Enter(("Ava", "Ben", "Cleo"), "hall")),
        ("Ava, Ben, and Cleo entered the hall", Enter(("Ava", "Ben", "Cleo"), "hall")),
        ("Ava exited the hall.", Exit(("Ava",), "hall")),
        ("The peas is in the red_box.", Locate("peas", "red_box")),
        ("The peas are in the red_box.", Locate("peas", "red_box")),
        ("Ava moved the peas to the red_box.", Move("Ava", "peas", "red_box")),
        ("Ava made no movements and stayed in the hall for 1 minute.", Stay("Ava", "hall")),
        ("Ava publicly claimed that peas is in the red_box.", PublicClaim("Ava", "peas", "red_box")),
        ("Ava publicly claimed that the peas are in the red_box.", PublicClaim("Ava", "peas", "red_box")),
        ("Ava privately told Ben that the peas is in the red_box.", PrivateClaim("Ava", "Ben", "peas", "red_box")),
        ("Ava saw a cat.", Noise("Ava saw a cat.")),
        ("Ava lost his phone.", Noise("Ava lost his phone.")),
        ("Ava dislikes the peas.", Noise("Ava dislikes the peas.")),
        ("Ava loves the peas", Noise("Ava loves the peas")),
        ("Зоя, आरव and Ó'Neil-Łukasz entered the hall.", Enter(("Зоя", "आरव", "Ó'Neil-Łukasz"), "hall")),
    ],
)
def test_a_sentence_says(sentence: str, event: object) -> None:
    assert read_sentence(sentence) == event


@pytest.mark.parametrize(
    "sentence",
    [
        "Ava walked into the hall.",
        "Ava entered hall.",
        "Ava, entered the hall.",
        "Ava and and Ben entered the hall.",
        "and entered the hall.",
        "Ava entered the hall. Ben entered the hall.",
        "The peas was in the red_box.",
        "The peas is not in the red_box.",
        "Ava did not move the peas to the red_box.",
        "Ava moved the peas to the red box.",
        "Ava privately told that the peas is in the red_box.",
        "If Ava moved the peas to the red_box.",
        "Ava moved the peas to the red_box?",
    ],
)
def test_nothing_is_guessed(sentence: str) -> None:
    assert read_sentence(sentence) is None


def test_numbers_carriage_returns_and_empty_lines() -> None:
    numbered = parse_story("7 Ava entered the hall.\r\n\r\n8. The peas is in the red_box.\r\n").story
    bare = parse_story("Ava entered the hall.\n\nThe peas is in the red_box.").story
    assert [line.number for line in numbered.lines] == [7, 8]
    assert [line.number for line in bare.lines] == [1, 3]
    assert [line.event for line in numbered.lines] == [line.event for line in bare.lines]
    assert numbered.lines[0].text == "Ava entered the hall."


def test_a_name_is_one_name_however_its_accents_are_written() -> None:
    story = parse_story(STORY.replace("Ava", unicodedata.normalize("NFD", "Zoé"))).story
    question = parse_question(f"Where does {unicodedata.normalize('NFC', 'Zoé')} think the peas is?")
    assert question.chain[0] in story.agents


def test_strictly_the_first_unknown_line_is_named() -> None:
    with pytest.raises(InvalidInput, match=r'line 3, "Ava vanished\.": is no sentence.*A exited the PLACE') as caught:
        parse_story(STORY + "3 Ava vanished.\n4 Ben vanished.")
    assert caught.value.violations[0].field == "story"


def test_leniently_unknown_lines_are_listed_and_left_out() -> None:
    parsed = parse_story(STORY + "3 Ava vanished.\n4 Ben exited the hall.\nwhatever", strict=False)
    assert [line.number for line in parsed.story.lines] == [1, 2, 4]
    assert [(line.number, line.text) for line in parsed.refused] == [(3, "Ava vanished."), (5, "whatever")]


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("Cleo exited the hall.", "Cleo exits the hall without being there"),
        ("Ava exited the porch.", "Ava exits the porch without being there"),
        ("Cleo moved the peas to the blue_box.", "Cleo moves the peas in the hall without being there"),
        ("Ava moved the corn to the blue_box.", "the corn, which is nowhere yet"),
        ("Cleo made no movements and stayed in the hall for 1 minute.", "without being there"),
        ("Cleo publicly claimed that peas is in the red_box.", "Cleo speaks or is spoken to before entering"),
        ("Ava privately told Cleo that the peas is in the red_box.", "Cleo speaks or is spoken to"),
        ("Ava privately told Ava that the peas is in the red_box.", "name another listener"),
        ("Cleo and Cleo entered the hall.", "twice"),
    ],
)
def test_what_cannot_have_happened_is_refused(sentence: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"line 3.*{why}"):
        parse_story(STORY + sentence)
    assert len(parse_story(STORY + sentence, strict=False).story.lines) == 2


def test_a_refused_exit_moves_nobody() -> None:
    parsed = parse_story(STORY + "Ben and Cleo exited the hall.\nBen moved the peas to the blue_box.", strict=False)
    assert [line.number for line in parsed.refused] == [3]
    assert parsed.story.lines[-1].event == Move("Ben", "peas", "blue_box")


def test_long_stories_are_refused_before_they_are_read() -> None:
    assert len(parse_story("Ava entered the hall.\n" * MOST_LINES).story.lines) == MOST_LINES
    with pytest.raises(ResourceExhausted, match="2001 lines; give at most 2000"):
        parse_story("nonsense\n" * (MOST_LINES + 1))


@pytest.mark.parametrize("text", ["", " \n\r\n\t"])
def test_an_empty_story_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        parse_story(text)


def test_lines_that_look_endless_are_refused_quickly() -> None:
    for line in ("Ava, " * 100_000, "Ava and " * 100_000, "a" * 1_000_000, "moved the " * 50_000):
        assert parse_story(STORY + line, strict=False).refused[0].number == 3


def test_written_stories_are_read_back() -> None:
    for seed in range(50):
        story = wild_story(seed)
        text = "\n".join(f"{line.number} {line.text}" for line in story.lines)
        assert parse_story(text).story == story


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Where is the peas really?", Question("peas", ())),
        ("Where are the peas really?", Question("peas", ())),
        ("Where does Ava really think the peas is?", Question("peas", ("Ava",))),
        ("where does Ava think the peas are", Question("peas", ("Ava",))),
        ("Where does Ava think Ben thinks the peas is?", Question("peas", ("Ava", "Ben"))),
        ("Where does Ava think that Ben thinks that Ava thinks the peas is?", Question("peas", ("Ava", "Ben", "Ava"))),
        ("Where will Ava look for the peas?", Question("peas", ("Ava",))),
        ("Where does Ava think that Ben searches for the peas?", Question("peas", ("Ava", "Ben"))),
        (" Where  does Зоя think\nBen thinks the peas is ? ", Question("peas", ("Зоя", "Ben"))),
    ],
)
def test_a_question_asks(text: str, question: Question) -> None:
    assert parse_question(text) == question
    assert parse_question(write_question(question)) == question


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Where does Ava think Ava thinks the peas is?", "names Ava twice in a row"),
        ("Where does A think B thinks C thinks D thinks E thinks the peas is?", "is of order 5; ask up to 4"),
        ("Where does Ava think that Ava searches for the peas?", "names Ava twice in a row"),
        ("Where was the peas at the beginning?", "none that is understood"),
        ("Where was the peas?", "none that is understood"),
        ("Where does Ava think Ben believes the peas is?", "none that is understood"),
        ("", "none that is understood"),
        ("Where does Ava think " + "Ben thinks " * 100_000 + "the peas is?", "none that is understood"),
    ],
)
def test_a_question_that_cannot_be_asked(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        parse_question(text)


def test_every_line_and_question_of_hitom_is_read() -> None:
    rows = hitom_rows()
    assert len(rows) == 200
    for row in rows:
        story = parse_story(row.story).story
        assert len(story.lines) == len(row.story.splitlines())
        assert write_question(parse_question(row.question)) == row.question


def test_generated_questions_are_read_back() -> None:
    for generated in generate_stories(20, 3, length=2, claims=True):
        assert [parse_question(each.text) for each in generated.questions] == [q.question for q in generated.questions]
