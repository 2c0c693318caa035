"""Stories as words: names are numbers of their own story's, and what a line says is left to the reader."""

from __future__ import annotations

import numpy as np
import pytest
from unit.tom_verifier.verifier.parts import QUESTION, STORY, TEXT

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.paraphrase import GRAMMARS, paraphrase_story
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.unread import unread_story
from assay_tom_verifier.core.verifier import words as W
from assay_tom_verifier.core.verifier.encode import relabel
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.word_recipes import EVERY_GRAMMAR
from assay_tom_verifier.core.verifier.words import ToldStory, encode_told, words_of

VOCABULARY = words_of(EVERY_GRAMMAR)
TOLD = paraphrase_story(STORY, 1)


def features(text: str, question: Question = QUESTION, vocabulary: tuple[str, ...] = VOCABULARY) -> np.ndarray:
    return encode_told(ToldStory.of(unread_story(text)), question, vocabulary).features


def test_stories_that_differ_in_names_alone_are_the_same():
    renamed = TOLD
    names = {"Owen": "Zebedee", "Liam": "Ёжик", "Ava": "Li", "red_box": "big_urn", "blue_crate": "x_1", "pear": "ruby"}
    for old, new in {**names, "hall": "crypt", "green_bottle": "old_tin"}.items():
        assert old in renamed
        renamed = renamed.replace(old, new)
    assert (features(renamed, Question("ruby", ("Ёжик", "Zebedee"))) == features(TOLD)).all()


def test_a_word_never_met_is_not_taken_for_one_that_was():
    known = features("Owen took the pear.\nThen Owen and Liam left.", Question("pear", ()))
    other = features("Owen burgled the pear.\nThen Owen and Liam left.", Question("pear", ()))
    assert (known != other).sum() == 1
    assert other[known != other].item() == W.UNKNOWN


@pytest.mark.parametrize("grammar", EVERY_GRAMMAR)
@pytest.mark.parametrize("foreign", [False, True])
def test_whoever_and_whatever_counts_has_a_number_in_every_grammar(grammar, foreign):
    vocabulary = words_of(tuple(each for each in EVERY_GRAMMAR if each != grammar)) if foreign else VOCABULARY
    source = ToldSource(3, grammars=(grammar,), vocabulary=vocabulary)
    for index in range(40):
        made = source.story(index)
        told = ToldStory.of(unread_story(source.tell(made)))
        for each in made.questions:
            right, found = relabel(made.story, each.question), encode_told(told, each.question, vocabulary).labels
            assert set(right.containers) <= set(found.containers)
            assert set(right.agents) <= set(found.agents)


def test_the_parser_refuses_every_paraphrased_line():
    for made in generate_stories(30, 5, claims=True):
        for grammar in range(GRAMMARS):
            told = paraphrase_story(made.story, 1, (grammar,))
            parsed = parse_story(told, strict=False)
            assert not parsed.story.lines
            assert len(parsed.refused) == len(made.story.lines)


def test_a_story_read_and_one_unread_are_the_same_words():
    assert ToldStory.of(unread_story(TEXT)) == ToldStory.of(STORY)
    assert [line.number for line in unread_story("\nOwen left.\n7. Ava left.").lines] == [2, 7]


def test_what_is_published_is_read_as_words_too():
    rows = features(TEXT)
    assert rows.shape[0] == 1 + len(STORY.lines)
    owen, liam, ava = (W.AGENT + number for number in (1, 0, 2))  # the asked chain's agents come first
    entered, the = (W.WORD + VOCABULARY.index(word) for word in ("entered", "the"))
    conjunction = W.WORD + VOCABULARY.index("and")
    assert rows[1, :7].tolist() == [owen, liam, conjunction, ava, entered, the, W.OTHER]
    assert rows[2, 1:3].tolist() == [W.ASKED, W.WORD + VOCABULARY.index("is")]


def test_training_takes_words_for_unknown_and_telling_does_not():
    plain = ToldSource(3, grammars=EVERY_GRAMMAR, vocabulary=VOCABULARY).questions(0, 20).features
    hidden = ToldSource(3, grammars=EVERY_GRAMMAR, vocabulary=VOCABULARY, in_training=True).questions(0, 20).features
    assert not (plain == W.UNKNOWN).float().mean() > 0.005  # animals and belongings
    assert (hidden == W.UNKNOWN).float().mean() > 0.02


@pytest.mark.parametrize(
    ("text", "question", "said"),
    [
        ("  \n", QUESTION, "is empty"),
        ("Owen took the pear.", Question("plum", ()), "names plum"),
        ("Owen took the pear.", Question("pear", ("Ava",)), "names Ava"),
        ("It was " + "very " * 60 + "late.", QUESTION, "line 1 has 63 words"),
        ("In came " + ", ".join("ABCDEFGHI") + " with the pear.", Question("pear", ()), "agents"),
        ("The pear was in " + " ".join(f"box_{i}" for i in range(25)), Question("pear", ()), "containers"),
    ],
)
def test_what_a_small_model_cannot_read_is_refused(text, question, said):
    with pytest.raises(InvalidInput, match=said):
        features(text, question)
