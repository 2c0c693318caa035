"""The local language model against plain forward passes in float32; random weights, so every answer is arbitrary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM, SwitchTransformersConfig
from transformers import SwitchTransformersForConditionalGeneration as Switch

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput, Unimplemented
from assay.models.language_model import Evidence, FinishReason, LanguageModel
from assay.models.local import LocalLanguageModel
from assay.zoo.tokenizer import END_ID, PAD_ID, train_tokenizer

PROMPTS = ["def main(", "The interpreter reads bytes, compiles them and then ", "x", "import os\nimport sys\n"]
VOCABULARY = 320


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture-of-experts model with logits spread widely enough that rounding cannot swap two of them."""
    text = tmp_path_factory.mktemp("text")
    rows = [{"text": prompt * 5, "domain": "code"} for prompt in PROMPTS]
    (text / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path_factory.mktemp("local") / "model"
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=8,
        num_experts_per_tok=2,
        initializer_range=0.3,
        max_position_embeddings=64,
        pad_token_id=PAD_ID,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
    )
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(config).save_pretrained(folder)
    train_tokenizer(text, vocabulary=VOCABULARY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(directory: Path) -> LocalLanguageModel:
    return LocalLanguageModel(directory)


def direct(model: LocalLanguageModel, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of the token after each of `ids`, one unpadded pass without cache. [T, V]"""
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


def test_scores_are_those_of_an_unpadded_pass(model: LocalLanguageModel) -> None:
    for text, score in zip(PROMPTS, model.score(PROMPTS, cancel=CancelToken()), strict=True):
        ids = model.tokenizer(text, add_special_tokens=False).input_ids
        expected = direct(model, [END_ID, *ids])[range(len(ids)), ids]
        assert score.tokens == tuple(ids)
        # Attending to padding would move these by whole nats.
        assert score.log_probabilities == pytest.approx(expected.tolist(), abs=2e-4)


def test_byte_offsets_cut_the_text_into_its_tokens(model: LocalLanguageModel) -> None:
    plain, accented = "def main(x):\n    return x", "naïve → 🜁!"
    first, second = model.score([plain, accented], cancel=CancelToken())
    assert b"".join(plain.encode()[start:end] for start, end in first.byte_offsets) == plain.encode()
    assert [plain[start:end] for start, end in first.byte_offsets] == [
        model.tokenizer.decode([t]) for t in first.tokens
    ]
    # The arrow's three bytes are three tokens here; each spans the character, which stands at bytes 7 to 10.
    assert (second.byte_offsets[0][0], second.byte_offsets[-1][1]) == (0, len(accented.encode()))
    assert (7, 10) in second.byte_offsets


def test_greedy_answers_follow_the_likeliest_token_of_a_plain_pass(model: LocalLanguageModel) -> None:
    for prompt, answer in zip(PROMPTS, model.generate(PROMPTS, max_new_tokens=12, cancel=CancelToken()), strict=True):
        ids = list(model.tokenizer(prompt).input_ids)
        for token, log_probability in zip(answer.tokens, answer.log_probabilities, strict=True):
            following = direct(model, ids)[-1]
            assert token == int(following.argmax())
            assert log_probability == pytest.approx(following[token].item(), abs=2e-4)
            ids.append(token)
        assert answer.finish_reason in (FinishReason.LENGTH, FinishReason.END)


def test_sampling_depends_on_seed_and_prompt_but_not_on_company(model: LocalLanguageModel) -> None:
    def sample(prompts: list[str], seed: int) -> list[tuple[int, ...]]:
        answers = model.generate(prompts, max_new_tokens=8, temperature=1.0, seed=seed, cancel=CancelToken())
        return [answer.tokens for answer in answers]

    together = sample(PROMPTS, 7)
    assert together == sample(PROMPTS, 7)
    assert together == [sample([prompt], 7)[0] for prompt in PROMPTS]
    assert together != sample(PROMPTS, 8)
    assert len(set(sample(["x"] * 6, 7))) == 6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_come_as_often_as_their_probability_says(model: LocalLanguageModel, temperature: float) -> None:
    answers = model.generate(["x"] * 400, max_new_tokens=1, temperature=temperature, cancel=CancelToken())
    log_probabilities = direct(model, list(model.tokenizer("x").input_ids))[-1]
    probabilities = torch.softmax(log_probabilities / temperature, dim=-1)
    token = int(probabilities.argmax())
    share = sum(answer.tokens[0] == token for answer in answers) / len(answers)
    expected = probabilities[token].item()
    # Four binomial standard deviations; the seed is fixed, so this cannot flake.
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 400) ** 0.5)
    # What is reported is the model's own probability, whatever the temperature.
    assert answers[0].log_probabilities[0] == pytest.approx(log_probabilities[answers[0].tokens[0]].item(), abs=2e-4)


def test_a_stop_text_ends_the_answer_before_itself(model: LocalLanguageModel) -> None:
    free = model.generate(["import os"], max_new_tokens=16, cancel=CancelToken())[0]
    stop = model.tokenizer.decode(list(free.tokens[4:6]))
    stopped = model.generate(["import os"], max_new_tokens=16, stop=["never so", stop], cancel=CancelToken())[0]
    assert stopped.finish_reason is FinishReason.STOP
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.tokens == free.tokens[: len(stopped.tokens)]


def test_the_end_mark_ends_one_answer_and_not_its_neighbours(model: LocalLanguageModel, directory: Path) -> None:
    free = model.generate(PROMPTS, max_new_tokens=10, cancel=CancelToken())
    end = next(token for token in free[0].tokens[2:] if token not in free[0].tokens[:2])
    other = LocalLanguageModel(directory)
    other._ends = frozenset({end})
    answers = other.generate(PROMPTS, max_new_tokens=10, cancel=CancelToken())
    kept = free[0].tokens[: free[0].tokens.index(end) + 1]
    assert answers[0].tokens == kept
    assert answers[0].finish_reason is FinishReason.END
    assert answers[0].text == model.tokenizer.decode(list(kept[:-1]))
    for answer, before in zip(answers[1:], free[1:], strict=True):
        length = before.tokens.index(end) + 1 if end in before.tokens else len(before.tokens)
        assert answer.tokens == before.tokens[:length]


def test_cancelling_stops_before_the_next_token(model: LocalLanguageModel) -> None:
    cancel, passes = CancelToken(), 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes == 3:
            cancel.cancel()

    hook = model.model.register_forward_hook(count)
    try:
        with pytest.raises(Cancelled):
            model.generate(["x"], max_new_tokens=40, cancel=cancel)
        with pytest.raises(Cancelled):
            model.score(["x"], cancel=cancel)
    finally:
        hook.remove()
    assert passes == 3


def test_what_the_model_can_show(model: LocalLanguageModel) -> None:
    port: LanguageModel = model
    assert port.capabilities.evidence == {Evidence.LOG_PROBABILITIES, Evidence.HIDDEN_STATES}
    assert port.capabilities.context_tokens == 64


def test_bad_requests_name_their_field(model: LocalLanguageModel) -> None:
    cancel = CancelToken()
    for field, call in {
        "prompts[1]": lambda: model.generate(["x", "word " * 80], max_new_tokens=4, cancel=cancel),
        "max_new_tokens": lambda: model.generate(["x"], max_new_tokens=0, cancel=cancel),
        "temperature": lambda: model.generate(["x"], max_new_tokens=1, temperature=float("nan"), cancel=cancel),
        "stop": lambda: model.generate(["x"], max_new_tokens=1, stop=[""], cancel=cancel),
        "texts[1]": lambda: model.score(["x", ""], cancel=cancel),
        "texts[0]": lambda: model.score(["word " * 80], cancel=cancel),
    }.items():
        with pytest.raises(InvalidInput) as raised:
            call()
        assert raised.value.violations[0].field == field
    assert model.generate([], max_new_tokens=1, cancel=cancel) == []
    assert model.score([], cancel=cancel) == []


def test_an_empty_prompt_starts_from_the_begin_mark(model: LocalLanguageModel) -> None:
    answer = model.generate([""], max_new_tokens=1, cancel=CancelToken())[0]
    assert answer.tokens[0] == int(direct(model, [END_ID])[-1].argmax())


def test_an_encoder_decoder_is_refused(directory: Path, tmp_path: Path) -> None:
    config = SwitchTransformersConfig(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_decoder_layers=2,
        num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, num_heads=2, num_experts=2,
    )  # fmt: skip
    Switch(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    with pytest.raises(Unimplemented, match="encoder-decoder"):
        LocalLanguageModel(tmp_path)
