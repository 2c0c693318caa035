from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay_tom_verifier.core.sensitivity.answers import Asked, continuation
from assay_tom_verifier.core.sensitivity.tasks.item import Cell, Item
from assay_tom_verifier.core.sensitivity.tasks.suite import suite

STORY, QUESTION = "A tin stands on the counter.", "In fact the tin is full of"
CELL = Cell("unexpected-contents", 0, "false belief", False)


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """Byte-level BPE so small that most words are of several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([item.prompt for item in suite(0)[:64]], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<end>", eos_token="<end>")


@pytest.fixture(scope="module")
def memorised(pieces: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Knows one text by heart: STORY, QUESTION, walnuts."""
    config = LlamaConfig(
        vocab_size=330,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    ids = torch.tensor([[1, *pieces.encode(f"{STORY} {QUESTION} walnuts.", add_special_tokens=False)]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


def _item(answer: str, foil: str = "buttons") -> Item:
    return Item(CELL, "reality", STORY, QUESTION, answer, foil)


def test_the_first_word_is_what_greedy_decoding_writes(
    memorised: PreTrainedModel, pieces: PreTrainedTokenizerFast
) -> None:
    # "wal" is how "walnuts" begins: its tokens are all the likeliest, and what follows goes on with the word.
    words = ["walnuts", "wal", "buttons", "walnut"]
    answers = Asked([_item(word, "maps") for word in words], pieces).answers(memorised, cancel=CancelToken())
    ids = torch.tensor([[1, *pieces.encode(f"{STORY} {QUESTION}", add_special_tokens=False)]])
    written = memorised.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
    first = pieces.decode(written[0, ids.shape[1] :]).split(".")[0].strip()
    assert first == "walnuts"
    assert answers.first_word.tolist() == [word == first for word in words]


def test_log_probabilities_are_those_of_the_whole_word(
    memorised: PreTrainedModel, pieces: PreTrainedTokenizerFast
) -> None:
    asked = Asked([_item("walnuts"), _item("buttons", "walnuts")], pieces)
    answers = asked.answers(memorised, cancel=CancelToken())
    for word, found in (("walnuts", answers.answer_nats[0]), ("buttons", answers.answer_nats[1])):
        each = continuation(f"{STORY} {QUESTION}", word, pieces)
        assert len(each.ids) - each.start > 1
        with torch.no_grad():
            logits = memorised(torch.tensor([each.ids])).logits[0].double().log_softmax(-1)
        expected = sum(logits[at - 1, each.ids[at]].item() for at in range(each.start, len(each.ids)))
        assert found == pytest.approx(expected, abs=1e-5)
    assert answers.foil_nats[0] == pytest.approx(answers.answer_nats[1], abs=1e-5)
    assert answers.likelier.tolist() == [True, False]


def test_a_batch_of_unequal_lengths_changes_nothing(
    llama_for_words: PreTrainedModel, word_tokenizer: PreTrainedTokenizerFast
) -> None:
    items = [suite(0)[index] for index in (0, 330, 650, 740, 800)]
    together = Asked(items, word_tokenizer).answers(llama_for_words, cancel=CancelToken())
    for index, item in enumerate(items):
        alone = Asked([item], word_tokenizer).answers(llama_for_words, cancel=CancelToken())
        assert alone.answer_nats[0] == pytest.approx(together.answer_nats[index], abs=1e-5)
        assert alone.foil_nats[0] == pytest.approx(together.foil_nats[index], abs=1e-5)


def test_no_items_are_refused_and_a_cancelled_token_stops(
    memorised: PreTrainedModel, pieces: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(InvalidInput, match="items"):
        Asked([], pieces)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        Asked([_item("walnuts")], pieces).answers(memorised, cancel=cancel)
