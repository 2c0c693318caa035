"""Networks that read words: the same scores alone and side by side, kept with their vocabulary, resumable."""

from __future__ import annotations

import json

import pytest
import torch
from unit.tom_verifier.verifier.parts import QUESTION, RIGHT, STORY, generator
from unit.tom_verifier.verifier.test_training import StopsAt

from assay.cancel import CancelToken
from assay.errors import Cancelled, DataLoss
from assay.progress import silent
from assay_tom_verifier.core.stories.paraphrase import paraphrase_story
from assay_tom_verifier.core.stories.unread import unread_story
from assay_tom_verifier.core.verifier.line_reader import WordNetwork, new_word_network
from assay_tom_verifier.core.verifier.network import NetworkShape
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.process_belief_model import (
    SHAPE,
    ProcessBeliefModel,
    load_network,
    save_network,
)
from assay_tom_verifier.core.verifier.sample import sample_traces
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.train import train_generator, train_verifier, weights_sha256
from assay_tom_verifier.core.verifier.word_recipes import EVERY_GRAMMAR, WordGeneratorRecipe, WordVerifierRecipe
from assay_tom_verifier.core.verifier.words import words_of

VOCABULARY = words_of(EVERY_GRAMMAR)
SMALL = NetworkShape(width=16, layers=1, heads=2)


def reader(seed: int = 0) -> WordNetwork:
    """Random weights, in float64 so that equal means equal whatever the order of sums."""
    return new_word_network(SMALL, VOCABULARY, seed).double()


def test_a_prefix_has_the_score_it_has_in_a_longer_trace():
    told = unread_story(paraphrase_story(STORY, 1))
    whole, short = ProcessBeliefModel(reader()).score_claims(told, QUESTION, [RIGHT, RIGHT[:4]])
    assert whole[:4] == pytest.approx(short, abs=1e-12)
    assert len(set(whole)) == len(whole)


def test_words_beside_longer_lines_and_stories_read_as_they_do_alone():
    questions = ToldSource(4, grammars=EVERY_GRAMMAR, vocabulary=VOCABULARY).questions(0, 12)
    claims = sample_traces(reader(), questions, 2, generator(0))
    together = ProcessBeliefModel(reader()).score(questions, claims)
    for row in (0, 17, 43):
        alone = questions.rows(torch.tensor([row]))
        narrow = int((alone.features != 0).any(0).any(0).sum())
        steps = int(alone.lengths)
        network = reader()
        _, slots = network.read(alone.features[..., :narrow], claims[row, :1, :steps])
        assert torch.allclose(network.margins(slots).sigmoid(), together[row, :1, :steps], atol=1e-12)


def test_the_same_events_in_other_words_have_other_scores_before_any_training():
    scores = {
        round(ProcessBeliefModel(reader()).score_claims(unread_story(told), QUESTION, [RIGHT])[0][-1], 12)
        for told in (paraphrase_story(STORY, 1, (grammar,)) for grammar in range(5))
    }
    assert len(scores) == 5


def test_a_reader_is_kept_with_its_vocabulary(tmp_path):
    save_network(new_word_network(SMALL, VOCABULARY, 3), tmp_path)
    again = load_network(tmp_path)
    assert isinstance(again, WordNetwork)
    assert again.vocabulary == VOCABULARY
    assert weights_sha256(again) == weights_sha256(new_word_network(SMALL, VOCABULARY, 3))


def test_a_vocabulary_that_fits_no_weights_is_a_loss_of_data(tmp_path):
    save_network(new_word_network(SMALL, VOCABULARY, 3), tmp_path)
    facts = json.loads((tmp_path / SHAPE).read_text())
    for broken in (facts["vocabulary"][1:], None):
        (tmp_path / SHAPE).write_text(json.dumps({**facts, "vocabulary": broken}))
        with pytest.raises(DataLoss):
            load_network(tmp_path)


def test_a_reading_verifier_taken_up_again_ends_in_the_same_weights(tmp_path):
    few = Schedule(2, 5, 2e-3)
    tiny = train_generator(WordGeneratorRecipe("tiny", SMALL, few), seed=3, cancel=CancelToken(), progress=silent)
    recipe = WordVerifierRecipe(SMALL, few, Schedule(30, 5, 1e-3))
    whole = train_verifier(recipe, [tiny], seed=4, cancel=CancelToken(), progress=silent)
    stop = StopsAt(25, 30)
    with pytest.raises(Cancelled):
        train_verifier(recipe, [tiny], seed=4, cancel=stop.token, progress=stop, checkpoint_dir=tmp_path)
    parts = train_verifier(recipe, [tiny], seed=4, cancel=CancelToken(), progress=silent, checkpoint_dir=tmp_path)
    assert weights_sha256(parts) == weights_sha256(whole)
