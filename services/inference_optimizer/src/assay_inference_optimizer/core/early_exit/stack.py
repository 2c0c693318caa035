"""Running part of a decoder's layers: what drafting, verifying and completing a cache are made of."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask

from assay.errors import Unimplemented
from assay_inference_optimizer.core.early_exit.parts import Parts, parts_of
from assay_inference_optimizer.core.early_exit.residual import Residual
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.generation.cache_facts import walked
from assay_inference_optimizer.core.sparse.attach import pass_of_layers

_PROBE_TOKENS = 9
# Largest difference of logits, as a share of the largest logit, that rounding may explain.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_HALF_TOLERANCE = 0.1


class DecoderStack:
    """Layers first + 1 to last of a model, on any hidden states and any cache. Holds no state: threads may share it.

    The model's own forward always runs all layers; to run fewer, others shorten the live model's config, and an
    exception or a second thread then meets a model that lost its upper half. Here the range is an argument.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.parts: Parts = parts_of(model)
        self.config: Any = model.config
        self._rotary = getattr(self.parts.body, "rotary_emb", None)
        accepted = inspect.signature(self.parts.layers[0].forward).parameters
        self.recurrent = "cache_params" in accepted
        attends = "past_key_values" in accepted and "position_embeddings" in accepted and self._rotary is not None
        if not (self.recurrent or attends) or _slides(self.config):
            raise Unimplemented(
                f"model: layers of {type(model).__name__} cannot be run in parts; early-exit decoding takes rotary "
                "decoders with full attention, mixtures of experts among them, and Mamba",
                reason="LAYERS_NOT_SEPARABLE",
            )

    @property
    def depth(self) -> int:
        """L."""
        return self.parts.depth

    def new_cache(self) -> Cache:
        return DynamicCache(config=self.config)

    def embed(self, ids: Tensor) -> Residual:
        """[1, T] int64 to the residual before layer 1."""
        return Residual(self.parts.embed(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """As `Parts.logits`; Internal where any is no number."""
        return finite(self.parts.logits(hidden))

    def run(self, first: int, last: int, entering: Residual, cache: Cache) -> tuple[Residual, Tensor]:
        """Residual after layer `last`, and the hidden states before it, from the residual after layer `first`.

        entering: T tokens that follow those the cache knows in these layers; first 0: the embedding. Returns as many,
        the second [1, T, h]. Other layers of the cache are left as they are. On a sparse cache a prompt has to run
        through all layers at once; decoding steps need not.
        """
        hidden = before = entering.hidden
        options = {"cache_params": cache} if self.recurrent else self._attention_options(first, hidden, cache)
        with pass_of_layers(cache, hidden, entering.walked):
            for layer in self.parts.layers[first:last]:
                before = hidden
                output = layer(hidden, **options)
                hidden = output[0] if isinstance(output, tuple) else output
        return Residual(hidden, walked(cache)), before

    def _attention_options(self, first: int, hidden: Tensor, cache: Cache) -> dict[str, Any]:
        known = cache.get_seq_length(first)
        positions = torch.arange(known, known + hidden.shape[1], device=hidden.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=None,
            past_key_values=cache,
            position_ids=positions,
            layer_idx=first,  # the layers of a cache may be of different lengths here
        )
        return {
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": True,
            "position_embeddings": self._rotary(hidden, position_ids=positions),  # type: ignore[misc]
        }


_stacks: WeakKeyDictionary[PreTrainedModel, DecoderStack] = WeakKeyDictionary()


def stack_of(model: PreTrainedModel) -> DecoderStack:
    """The model's stack, checked once: run in parts it must give the model's own logits, or Unimplemented.

    Families differ in what their forward does around the layers (scaled embeddings, capped logits, windows); a
    wrong guess would show in nothing but worse text. Internal for a model whose logits are no numbers.
    """
    stack = _stacks.get(model)
    if stack is None:
        stack = DecoderStack(model)
        _check(model, stack)
        _stacks[model] = stack
    return stack


@torch.inference_mode()
def _check(model: PreTrainedModel, stack: DecoderStack) -> None:
    ids = (torch.arange(1, _PROBE_TOKENS + 1, device=model.device) * 7919 % stack.parts.vocabulary)[None]
    expected = model(input_ids=ids, use_cache=False).logits[:, -2:].float()
    cache, middle, found = stack.new_cache(), max(1, stack.depth // 2), []
    for part in (ids[:, :-1], ids[:, -1:]):
        residual, _ = stack.run(0, middle, stack.embed(part), cache)
        if stack.depth > middle:
            residual, _ = stack.run(middle, stack.depth, residual, cache)
        found.append(stack.logits(residual.hidden[:, -1:]))
    share = _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
    if not (torch.cat(found, dim=1) - expected).abs().max() <= share * expected.abs().max().clamp(min=1.0):
        raise Unimplemented(
            f"model: {type(model).__name__} does more around its layers than embed, norm and head; its layers run "
            "in parts give other logits than its own forward",
            reason="LAYERS_NOT_SEPARABLE",
        )


def _slides(config: Any) -> bool:
    """Windows need a mask by layer, and a cache that forgets cannot be rolled back."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "linear_attention"}:
        return True
    return not kinds and getattr(config, "sliding_window", None) is not None
