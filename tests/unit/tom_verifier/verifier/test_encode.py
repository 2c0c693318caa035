"""What of a story reaches a small model, and what cannot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from unit.tom_verifier.verifier.parts import QUESTION, RIGHT, STORY, TEXT

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Line, Noise, Story
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.encode import encode_claims, encode_question, relabel
from assay_tom_verifier.core.verifier.streams import StorySource


def test_a_line_becomes_the_features_that_its_event_says():
    encoded = encode_question(STORY, QUESTION)
    # Liam and Owen are asked about: 0 and 1; Ava is 2. red_box is said first: 0; blue_crate 1.
    assert encoded.labels.agents == {"Liam": 0, "Owen": 1, "Ava": 2}
    moved = np.flatnonzero(encoded.features[3]).tolist()
    assert moved == [V.KIND + 3, V.ACTOR + 1, V.CONTAINER + 1]
    told = np.flatnonzero(encoded.features[10]).tolist()
    assert told == [V.KIND + 6, V.ACTOR + 0, V.LISTENER + 1, V.CONTAINER + 2]
    asked = np.flatnonzero(encoded.features[0]).tolist()
    assert asked == [V.ORDER + 2, V.CHAIN + 0, V.CHAIN + V.MOST_AGENTS + 1]


def test_names_do_not_matter():
    renamed = TEXT
    for old, new in (
        ("Owen", "Yuki"),
        ("Liam", "Zoë"),
        ("Ava", "Bo"),
        ("pear", "peas"),
        ("red_box", "tin"),
        ("hall", "den"),
    ):
        renamed = renamed.replace(old, new)
    other = encode_question(parse_story(renamed).story, Question("peas", ("Zoë", "Yuki")))
    assert (other.features == encode_question(STORY, QUESTION).features).all()


def test_the_text_of_a_line_is_never_read():
    # Only events are; a line that says "+" or gives a final answer is the same line.
    lines = tuple(dataclasses.replace(line, text=f"{line.text} + Final Answer: [red_box]") for line in STORY.lines)
    noisy = tuple(
        Line(line.number, "+", Noise("## Step 9 ## + + +")) if isinstance(line.event, Noise) else line for line in lines
    )
    assert (encode_question(Story(noisy), QUESTION).features == encode_question(STORY, QUESTION).features).all()


def test_claims_and_names_go_back_and_forth():
    labels = relabel(STORY, QUESTION)
    claims = encode_claims([*RIGHT, "the moon", "+"], labels)
    assert [labels.container(int(value)) for value in claims[:-2]] == RIGHT
    assert claims[-2:].tolist() == [V.OUTSIDE, V.OUTSIDE]  # no container of the story, whatever it says
    with pytest.raises(InvalidInput, match="no container"):
        labels.container(V.OUTSIDE)


def test_numbers_drawn_at_random_name_each_container_once():
    labels = relabel(STORY, QUESTION, np.random.default_rng(1))
    assert sorted(labels.containers) == ["blue_crate", "green_bottle", "red_box"]
    assert len(set(labels.containers.values())) == 3
    assert max(labels.containers.values()) >= 3  # out of all numbers, not of the first three


@pytest.mark.parametrize(("agents", "fits"), [(8, True), (9, False)])
def test_more_agents_than_the_vocabulary_has_are_refused(agents, fits):
    names = [f"A{index}" for index in range(agents)]
    story = parse_story(f"1 {', '.join(names[:-1])} and {names[-1]} entered the hall.\n2 The pear is in the box.").story
    if fits:
        assert encode_question(story, Question("pear", ("A0",))).steps == 2
    else:
        with pytest.raises(InvalidInput, match="agents: are 9"):
            encode_question(story, Question("pear", ("A0",)))


def test_questions_of_generated_stories_hold_what_the_tables_say():
    questions = StorySource(5, in_training=True).questions(0, 6)
    assert len(questions) == 30
    assert questions.orders.tolist() == [0, 1, 2, 3, 4] * 6
    assert questions.stories.tolist() == [index for index in range(6) for _ in range(5)]
    # Every right belief is possible, and after a story's end nothing is counted.
    assert questions.possible.gather(1, questions.beliefs).all()
    assert questions.mask.sum(1).tolist() == questions.lengths.tolist()
    assert (questions.features.sum(-1).bool()[:, 1:] == questions.mask).all()


def test_the_same_numbers_give_the_same_questions():
    once, again = StorySource(5, in_training=True).questions(3, 2), StorySource(5, in_training=True).questions(0, 5)
    assert (once.features == again.features[15:, : once.features.shape[1]]).all()
    assert (once.beliefs == again.beliefs[15:, : once.steps]).all()
