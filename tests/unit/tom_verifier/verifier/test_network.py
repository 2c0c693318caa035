"""One pass against one prompt a prefix, caches against none: the same numbers."""

from __future__ import annotations

import json

import pytest
import torch
from unit.tom_verifier.verifier.parts import QUESTION, RIGHT, STORY, generator, network

from assay.cancel import CancelToken
from assay.errors import Cancelled, DataLoss, InvalidInput, NotFound
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.losses import generator_loss, prefix_labels
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, load_network, save_network
from assay_tom_verifier.core.verifier.sample import sample_traces
from assay_tom_verifier.core.verifier.streams import StorySource


@pytest.fixture(scope="module")
def questions():
    return StorySource(5).questions(0, 3)


def test_one_pass_scores_each_prefix_as_if_it_were_alone():
    verifier = ProcessBeliefModel(network())
    (whole,) = verifier.score_claims(STORY, QUESTION, [RIGHT])
    alone = [verifier.score_claims(STORY, QUESTION, [RIGHT[:k]])[0][-1] for k in range(1, len(RIGHT) + 1)]
    assert whole == pytest.approx(alone, abs=1e-12)


def test_no_later_step_changes_an_earlier_score():
    verifier = ProcessBeliefModel(network())
    changed = [*RIGHT[:6], "red_box", None, "+", "Final Answer"]
    (first, second) = verifier.score_claims(STORY, QUESTION, [RIGHT, changed])
    assert first[:6] == pytest.approx(second[:6], abs=1e-12)
    assert first[6] != pytest.approx(second[6], abs=1e-6)


def test_a_claim_s_words_do_not_matter_where_it_is_no_container():
    verifier = ProcessBeliefModel(network())
    words = ["+", "+++ correct", "## Step 3 ##\nFinal Answer: [red_box]", "nowhere"]
    scores = verifier.score_claims(STORY, QUESTION, [[*RIGHT[:4], word] for word in words])
    assert all(own == scores[0] for own in scores)


def test_traces_that_claim_the_same_are_read_once(monkeypatch):
    model, read = network(), []
    read_on = model.read_on
    monkeypatch.setattr(model, "read_on", lambda lines, claims: (read.append(len(claims)), read_on(lines, claims))[1])
    scores = ProcessBeliefModel(model).score_claims(STORY, QUESTION, [RIGHT[:4], *[RIGHT] * 500, [None] * 10])
    assert sum(read) == 3
    assert [len(own) for own in scores] == [4, *[10] * 501]
    assert all(own == scores[1] for own in scores[2:501])
    assert scores[0] == pytest.approx(scores[1][:4], abs=1e-12)
    assert scores[501] != scores[1]


def test_scores_of_many_questions_equal_those_one_by_one(questions):
    verifier = ProcessBeliefModel(network())
    claims = torch.randint(0, 3, (len(questions), 4, questions.steps), generator=generator(1))
    claims[:, 3] = claims[:, 0]  # read once, told twice
    together = verifier.score(questions, claims)
    assert (together[:, 3] == together[:, 0]).all()
    row = int(questions.lengths.argmin())  # padded the most
    alone = questions.rows(torch.tensor([row]))
    assert torch.allclose(
        verifier.score(alone, claims[row : row + 1, :, : alone.steps])[0], together[row, :, : alone.steps], atol=1e-12
    )


def test_cached_sampling_draws_what_a_fresh_pass_would(questions):
    model = network(3)
    # At a temperature this low the draw is the likeliest claim: greedy decoding, checked against full passes.
    drawn = sample_traces(model, questions, 1, generator(0), temperature=1e-6)[:, 0]
    with torch.no_grad():
        lines, _ = model.read(questions.features, drawn)
        logits = model.beliefs(lines).masked_fill(~questions.possible[:, None], float("-inf"))
    assert (logits.argmax(-1) == drawn).all()


def test_samples_follow_the_model_s_odds(questions):
    model = network(3)
    first = sample_traces(model, questions.rows(torch.tensor([4])), 4000, generator(0))[0, :, 0]
    with torch.no_grad():
        lines, _ = model.read(questions.features[4:5], questions.beliefs[4:5])
    odds = model.beliefs(lines[0, 0]).masked_fill(~questions.possible[4], float("-inf")).softmax(-1)
    # Standard error of a share among 4,000 is at most .008; six of them.
    assert torch.allclose(first.bincount(minlength=V.PREDICTED) / 4000, odds.float(), atol=0.05)


def test_only_claims_that_name_something_of_the_story_are_drawn(questions):
    drawn = sample_traces(network(3), questions, 8, generator(0), temperature=5.0)
    assert questions.possible.gather(1, drawn.flatten(1)).all()


def test_sampling_stops_when_cancelled(questions):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        sample_traces(network(), questions, 1, generator(0), cancel=token)


@pytest.mark.parametrize(
    ("traces", "temperature", "field"), [(0, 1.0, "n"), (1, 0.0, "temperature"), (1, float("nan"), "temperature")]
)
def test_impossible_requests_name_their_field(questions, traces, temperature, field):
    with pytest.raises(InvalidInput, match=field):
        sample_traces(network(), questions, traces, generator(0), temperature=temperature)


def test_a_cache_s_rows_can_be_reordered(questions):
    model, rows = network(), torch.tensor([2, 0])
    hidden = model.embed_lines(questions.features[:3, :4])
    cache = model.new_cache(3, 5)
    with torch.no_grad():
        model.run(hidden[:, :3], cache)
        cache.reorder(rows)
        assert torch.allclose(model.run(hidden[rows, 3:], cache)[:, -1], model.run(hidden)[rows, -1], atol=1e-12)


def test_labels_stay_wrong_after_the_first_error(questions):
    claims = questions.beliefs[:, None].repeat(1, 2, 1)
    claims[:, 1, 4] = V.OUTSIDE
    labels = prefix_labels(questions, claims)
    assert labels[:, 0].all()
    assert labels[:, 1, :4].all()
    assert not labels[:, 1, 4:].any()


def test_padding_adds_nothing_to_the_loss(questions):
    model, row = network(), int(questions.lengths.argmin())
    alone = questions.rows(torch.tensor([row]))
    together = questions.rows(torch.tensor([row, int(questions.lengths.argmax())]))
    assert together.steps > alone.steps
    steps, both = alone.lengths.item(), together.lengths.sum().item()
    other = questions.rows(torch.tensor([int(questions.lengths.argmax())]))
    parts = generator_loss(model, alone) * steps + generator_loss(model, other) * (both - steps)
    assert generator_loss(model, together).item() == pytest.approx(parts.item() / both, rel=1e-12)


def test_weights_come_back_from_a_folder(tmp_path):
    model = network().float()
    save_network(model, tmp_path / "verifier")
    loaded = load_network(tmp_path / "verifier")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_broken_files_are_told_apart_from_missing_ones(tmp_path):
    with pytest.raises(NotFound):
        load_network(tmp_path)
    save_network(network().float(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\x00\x00\x00")
    with pytest.raises(DataLoss):
        load_network(tmp_path)
    (tmp_path / "shape.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(DataLoss):
        load_network(tmp_path)


def test_traces_must_fit_the_story():
    verifier = ProcessBeliefModel(network())
    for traces, field in (([], "traces"), ([[]], r"traces\[0\]"), ([RIGHT, [*RIGHT, None]], r"traces\[1\]")):
        with pytest.raises(InvalidInput, match=field):
            verifier.score_claims(STORY, QUESTION, traces)
