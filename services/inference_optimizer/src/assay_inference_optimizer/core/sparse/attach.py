"""Putting sparse attention into a transformers model, and taking it out again."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from assay.errors import FailedPrecondition, Unimplemented
from assay_inference_optimizer.core.sparse import active
from assay_inference_optimizer.core.sparse.attention import attention_over
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.joint_cache import JointSparseCache

NAME = "assay_sparse"
"""Attention implementations are named `assay_sparse_<the model's own>`: what runs dense runs as it did before."""


@dataclass
class _Attached:
    """before: each config of the decoder with the implementation it had."""

    before: list[tuple[Any, str]]
    hooks: list[RemovableHandle]


_ATTACHED: WeakKeyDictionary[PreTrainedModel, _Attached] = WeakKeyDictionary()
_LOCK = threading.Lock()


def attach(model: PreTrainedModel) -> None:
    """Lets `model` run sparse wherever a `SparseCache` is passed as past_key_values; any other cache runs dense.

    Sets the attention implementation of the decoder's config and nothing else of it; a second call changes nothing.
    Raises Unimplemented for an encoder-decoder, FailedPrecondition for a model whose attention does not go through
    transformers' AttentionInterface.
    """
    with _LOCK:
        if model in _ATTACHED:
            return
        if model.config.is_encoder_decoder:
            raise Unimplemented("model: is an encoder-decoder; sparse attention is for decoder-only models")
        decoder = _decoder(model)
        configs = _configs(decoder)
        before = [(config, config._attn_implementation) for config in configs]
        own = decoder.config._attn_implementation or "eager"
        decoder.set_attn_implementation(_register(own))
        if decoder.config._attn_implementation != _name(own):
            _put_back(before)
            raise FailedPrecondition(
                f"model: attention of {type(model).__name__} does not go through transformers' AttentionInterface; "
                "use dense attention",
                reason="ATTENTION_NOT_PLUGGABLE",
            )
        hooks = [
            decoder.register_forward_pre_hook(_before_pass, with_kwargs=True),
            decoder.register_forward_hook(_after_pass, always_call=True),
        ]
        _ATTACHED[model] = _Attached(before, hooks)


def detach(model: PreTrainedModel) -> None:
    """Puts back what `attach` changed; does nothing where it was not called."""
    with _LOCK:
        attached = _ATTACHED.pop(model, None)
        if attached is not None:
            for hook in attached.hooks:
                hook.remove()
            _put_back(attached.before)


@contextmanager
def pass_of_layers(cache: Cache, hidden: Tensor, walked: Sequence[Tensor] = ()) -> Iterator[None]:
    """Around layers that are run one by one, not by the model's own forward: sparse where `cache` is, as if it were.

    hidden: [B, Q, h], what enters the first of them. walked: `SparseCache.walked` after the layers before it. The model
    must be attached.
    """
    active.enter(cache if isinstance(cache, SparseCache) else None)
    try:
        if isinstance(cache, SparseCache):
            cache.begin_pass(hidden.shape[0], hidden.shape[1], None, walked)
        yield
    finally:
        active.leave()


def is_attached(model: PreTrainedModel) -> bool:
    return model in _ATTACHED


def _register(own: str) -> str:
    """The name under which attention and mask over `own` are known. Without a mask function of the same name,
    transformers passes no mask at all, even for padded rows."""
    name = _name(own)
    AttentionInterface.register(name, attention_over(own))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[own])
    return name


def _name(own: str) -> str:
    return f"{NAME}_{own}"


def _put_back(before: list[tuple[Any, str]]) -> None:
    for config, implementation in before:
        config._attn_implementation_internal = implementation


def _decoder(model: PreTrainedModel) -> PreTrainedModel:
    """The part that owns the layers and is handed cache and mask: not the head, nor another modality's tower."""
    decoder: object = model.get_decoder()  # type: ignore[no-untyped-call]
    return decoder if isinstance(decoder, PreTrainedModel) else cast(PreTrainedModel, model.base_model)


def _configs(decoder: PreTrainedModel) -> list[Any]:
    configs = {id(part.config): part.config for part in decoder.modules() if isinstance(part, PreTrainedModel)}
    return list(configs.values())


def _before_pass(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = inspect.signature(decoder.forward).bind_partial(*args).arguments | kwargs if args else kwargs
    cache = given.get("past_key_values")
    if cache is None:
        cache = given.get("cache_params")
    if not isinstance(cache, SparseCache | JointSparseCache):
        active.enter(None)
        return
    active.enter(cache)  # first: the hook after the pass leaves again, also where the next line raises
    inputs: Tensor = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
    cache.begin_pass(inputs.shape[0], inputs.shape[1], given.get("attention_mask"))


def _after_pass(decoder: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    active.leave()
