from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.tasks.suite import suite

VOCABULARY = 64
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}


def _seeded(build: type[PreTrainedModel], config: object) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(config).eval()


@pytest.fixture
def llama() -> PreTrainedModel:
    return _seeded(LlamaForCausalLM, LlamaConfig(**_SIZES, num_key_value_heads=1, initializer_range=0.3))


@pytest.fixture
def without_rope() -> PreTrainedModel:
    config = SmolLM3Config(**_SIZES, num_key_value_heads=1, initializer_range=0.3, no_rope_layers=[0, 0])
    return _seeded(SmolLM3ForCausalLM, config)


@pytest.fixture
def gpt2() -> PreTrainedModel:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1)
    return _seeded(GPT2LMHeadModel, config)


@pytest.fixture
def windows() -> Windows:
    ids = torch.randint(2, VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(3))
    return Windows(ids, ("code",) * 6)


@pytest.fixture(scope="session")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """A token a word of the suite, so that a model of a few thousand parameters can be asked."""
    words = sorted({word for item in suite(0) for word in f"{item.prompt} {item.answer} {item.foil}".split()})
    vocabulary = {"<pad>": 0, "<end>": 1, **{word: number + 2 for number, word in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<end>", eos_token="<end>")


@pytest.fixture
def llama_for_words(word_tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Untrained, with a token a word of the suite."""
    sizes = {**_SIZES, "vocab_size": len(word_tokenizer), "max_position_embeddings": 256}
    return _seeded(LlamaForCausalLM, LlamaConfig(**sizes, num_key_value_heads=1, initializer_range=0.3))
