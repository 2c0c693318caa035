"""A checkpoint in memory, ready to answer many requests at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from assay.errors import FailedPrecondition, InvalidInput, OutOfRange, Unimplemented
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.local import end_ids
from assay_inference_optimizer.core.generation.cache_facts import held_bytes
from assay_inference_optimizer.core.generation.loop import BatchingLoop
from assay_inference_optimizer.core.generation.sparse_bytes import SparseBytes
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.fallbacks import unsuited


class ServedModel:
    """A causal checkpoint: float32 on a CPU, its stored type on a GPU.

    weight_bytes: of its tensors. cache_bytes_per_token: of keys and values of one request, measured; cache_bytes: of
    what a request takes whatever its length. Raises what `load_model` raises; Unimplemented for an encoder-decoder.
    """

    def __init__(self, directory: Path, digest: str) -> None:
        on_gpu = torch.cuda.is_available()
        self.digest = digest
        self.model: PreTrainedModel = load_model(
            directory, dtype=None if on_gpu else torch.float32, device="cuda" if on_gpu else "cpu"
        )
        if self.model.config.is_encoder_decoder:
            raise Unimplemented("model: is an encoder-decoder; use a causal language model")
        self._unpluggable: FailedPrecondition | None = None
        try:
            attach(self.model)
        except FailedPrecondition as error:  # it serves dense all the same
            self._unpluggable = error
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(directory)
        self.begin: int | None = self.tokenizer.bos_token_id
        self.ends = end_ids(self.model, self.tokenizer)
        text_config = self.model.config.get_text_config(decoder=True)
        self.layers = int(text_config.num_hidden_layers)
        self.vocabulary = int(text_config.vocab_size)
        self.context_tokens: int | None = getattr(text_config, "max_position_embeddings", None)
        tensors = [*self.model.parameters(), *self.model.buffers()]
        self.weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.cache_bytes, self.cache_bytes_per_token = self._measure_cache()
        self.loop = BatchingLoop(self.model, self.ends)

    def new_cache(self, sparse: SparseConfig | None, *, rollback_tokens: int | None = None) -> Cache:
        """InvalidInput where the settings do not fit the model, FailedPrecondition where sparse attention does not.

        rollback_tokens: as of `SparseCache`; a dense cache takes back any number.
        """
        if sparse is None:
            return DynamicCache(config=self.model.config)
        if self._unpluggable is not None:
            raise self._unpluggable
        try:
            sparse.check(self.model.config)
        except InvalidInput as error:
            field = error.violations[0].field
            name = field if field == "model" else f"sparse.{field}"
            raise InvalidInput(name, error.violations[0].description) from None
        return SparseCache(self.model.config, sparse, rollback_tokens=rollback_tokens)

    @property
    def sparse_layers(self) -> int:
        """How many layers can run sparse."""
        if self._unpluggable is not None:
            return 0
        return self.layers - len(unsuited(self.model.config.get_text_config(decoder=True)))

    def bytes_of(self, tokens: int, sparse: SparseConfig | None = None, rollback_tokens: int | None = None) -> int:
        """Of the cache of a request of that many tokens: exact where it is dense, else an upper bound."""
        if sparse is not None:
            config = self.model.config.get_text_config(decoder=True)
            size = SparseBytes(config, self.model.dtype.itemsize, self.cache_bytes, self.cache_bytes_per_token)
            return size.most(sparse, tokens, rollback_tokens)
        return self.cache_bytes + tokens * self.cache_bytes_per_token

    def encode(self, text: str) -> list[int]:
        """A prompt's tokens; the begin mark alone for an empty one, where the model has one."""
        ids = list(self.tokenizer(text).input_ids)
        if not ids:
            if self.begin is None:
                raise InvalidInput("prompt.text", "is empty, and this model has no begin mark; give some text")
            ids = [self.begin]
        return ids

    def encode_more(self, text: str) -> list[int]:
        """Tokens of a text that goes on from another."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode_conversation(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """In the model's own template, with the beginning of the assistant's answer."""
        if not self.tokenizer.chat_template:
            raise FailedPrecondition(
                "model: its tokenizer has no chat template; save one with it, or give the prompt as text",
                reason="NO_CHAT_TEMPLATE",
            )
        try:
            text = self.tokenizer.apply_chat_template(
                list(map(dict, messages)), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template is the checkpoint's own program, and refuses as it likes
            raise InvalidInput(
                "prompt.conversation", f"does not fit the model's chat template ({type(error).__name__}: {error})"
            ) from None
        return self.encode_more(str(text))

    def check_tokens(self, ids: Sequence[int], field: str) -> None:
        """InvalidInput where there are none, or one is not the model's. field: of the list."""
        if not ids:
            raise InvalidInput(field, "are none; give at least one token")
        for index, token in enumerate(ids):
            if not 0 <= token < self.vocabulary:
                raise InvalidInput(
                    f"{field}[{index}]", f"is {token}; this model's tokens are 0 to {self.vocabulary - 1}"
                )

    def check_length(self, tokens: int, new: int = 0, field: str = "prompt") -> None:
        """OutOfRange where the model does not read so much."""
        if self.context_tokens is not None and tokens + new > self.context_tokens:
            follow = f" and {new} are to follow" if new else ""
            raise OutOfRange(
                f"{field}: has {tokens} tokens{follow}; this model reads {self.context_tokens} in all, so shorten it"
                + (" or ask for fewer" if new else ""),
                reason="CONTEXT_LENGTH",
            )

    def fitting(self, tokens: int, new: int) -> int:
        """As many of `new` tokens as the context has room for after `tokens`; 1 where it is full."""
        return new if self.context_tokens is None else max(1, min(new, self.context_tokens - tokens))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _measure_cache(self) -> tuple[int, int]:
        """Bytes of a request whatever its length, and of each token; from caches of two lengths."""
        from assay_inference_optimizer.core.generation.forward import read_tokens

        sizes = []
        with torch.inference_mode():
            for tokens in (8, 16):
                cache = DynamicCache(config=self.model.config)
                read_tokens(self.model, cache, [0] * tokens, 0)
                sizes.append(held_bytes(cache))
        per_token = (sizes[1] - sizes[0]) // 8
        return sizes[0] - 8 * per_token, per_token
