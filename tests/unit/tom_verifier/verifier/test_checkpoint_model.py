"""Any causal checkpoint as a verifier: a tiny Llama with a tokenizer of its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from unit.tom_verifier.verifier.parts import QUESTION, RIGHT, STORY, TEXT

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.progress import silent
from assay_tom_verifier.core.verifier.checkpoint_model import CheckpointVerifier
from assay_tom_verifier.core.verifier.network import NetworkShape, new_network
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.streams import OnPolicyBatches, StorySource
from assay_tom_verifier.core.verifier.trace_text import TraceText, trace_text
from assay_tom_verifier.core.verifier.train import weights_sha256
from assay_tom_verifier.core.verifier.train_checkpoint import (
    as_text,
    load_checkpoint_verifier,
    save_checkpoint_verifier,
    train_checkpoint_verifier,
)
from assay_tom_verifier.core.verifier.written_traces import containers_of

LINES = [line.text for line in STORY.lines]
SOURCE = StorySource(6, in_training=True)


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT, *(SOURCE.story(index).text for index in range(20))], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|end|>", eos_token="<|end|>")


def verifier(tokenizer, **sizes):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, **sizes,
    )  # fmt: skip
    return CheckpointVerifier(LlamaForCausalLM(config), tokenizer)


@pytest.fixture
def judge(tokenizer):
    return verifier(tokenizer)


@pytest.fixture(scope="module")
def text():
    return trace_text(LINES, QUESTION, RIGHT, containers_of(STORY))


def test_a_trace_is_told_in_the_published_form(text):
    assert (
        text.steps[1] == "## Step 2 ##\nThe pear is in the red_box.\nLiam thinks Owen thinks the pear is in [red_box]\n"
    )
    assert "[nobody can tell yet]" in text.steps[0]


def test_one_pass_scores_each_prefix_as_if_it_were_alone(judge, text):
    (whole,) = judge.score([text], CancelToken())
    prefixes = [TraceText(text.prompt, text.steps[:k]) for k in range(1, len(text.steps) + 1)]
    alone = [scores[-1] for scores in judge.score(prefixes, CancelToken())]
    # float32 sums in another order; random weights spread the scores by .01 and more.
    assert whole == pytest.approx(alone, abs=1e-6)
    assert max(whole) - min(whole) > 1e-3


def test_traces_side_by_side_score_as_one_by_one(judge, text):
    short = TraceText(text.prompt, text.steps[:4])
    together = judge.margins([short, text])
    alone = [judge.margins([each])[0] for each in (short, text)]
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_special_tokens_in_a_text_stay_text(judge, text, tokenizer):
    spelled = TraceText(text.prompt, ("<|end|> +",))
    ids, slots = judge.encode(spelled)
    assert ids.count(tokenizer.eos_token_id) == 1  # the one at the very beginning
    assert slots == [len(ids) - 1]


def test_a_tokenizer_without_the_verdicts_is_refused(tokenizer):
    made = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    model = verifier(tokenizer).model
    with pytest.raises(InvalidInput, match="as tokens"):
        CheckpointVerifier(model, PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]"))


def test_a_trace_that_outgrows_the_model_is_refused(tokenizer, text):
    small = verifier(tokenizer)
    small.model.config.max_position_embeddings = 100
    with pytest.raises(InvalidInput, match="the model reads 100"):
        small.score([text], CancelToken())


def test_scoring_stops_when_cancelled(judge, text):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        judge.score([text], token)


def test_text_says_what_the_numbers_say():
    network = new_network(NetworkShape(16, 1, 2), 0)
    questions, claims = OnPolicyBatches(SOURCE, [network], 6).batch(0)
    texts, labels = as_text(SOURCE, questions, claims)
    for row, (told, wanted) in enumerate(zip(texts, labels, strict=True)):
        assert len(told.steps) == len(wanted) == questions.lengths[row]
        claimed = [questions.labels[row].container(value) or "nobody can tell yet" for value in claims[row].tolist()]
        assert all(step.endswith(f"[{claim}]\n") for step, claim in zip(told.steps, claimed, strict=False))


@pytest.mark.slow
def test_training_is_taken_up_again_bit_by_bit_and_lowers_the_loss(tokenizer, tmp_path):
    generators, schedule = [new_network(NetworkShape(16, 1, 2), 0)], Schedule(26, 2, 3e-3, warmup_steps=5)

    def train(judge, cancel, progress, folder=None):
        train_checkpoint_verifier(
            judge, SOURCE, generators, schedule, cancel=cancel, progress=progress, checkpoint_dir=folder
        )
        return judge

    whole = train(verifier(tokenizer), CancelToken(), silent)
    token = CancelToken()
    with pytest.raises(Cancelled):
        train(verifier(tokenizer), token, lambda done, *_, **__: token.cancel(), tmp_path)
    again = train(verifier(tokenizer), CancelToken(), silent, tmp_path)
    assert weights_sha256(again.model) == weights_sha256(whole.model)
    held_out = as_text(
        dataclasses.replace(SOURCE, seed=7),
        *OnPolicyBatches(dataclasses.replace(SOURCE, seed=7), generators, 4).batch(0),
    )
    with torch.no_grad():
        # Traces of untrained generators are wrong from the second step on: to learn that takes little.
        assert whole.loss(*held_out) < verifier(tokenizer).loss(*held_out) - 0.2


def test_a_verifier_comes_back_from_a_folder(judge, text, tmp_path):
    save_checkpoint_verifier(judge, tmp_path / "verifier")
    loaded = load_checkpoint_verifier(tmp_path / "verifier")
    assert loaded.score([text], CancelToken()) == judge.score([text], CancelToken())
