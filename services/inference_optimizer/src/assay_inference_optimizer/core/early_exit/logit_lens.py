"""Residuals after every layer, and what the model would say after each: the logit lens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from assay.errors import FailedPrecondition, Unimplemented
from assay_inference_optimizer.core.early_exit.parts import Parts, parts_of

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE = 0.05


def residuals(model: PreTrainedModel, ids: Tensor, cache: Cache | None = None) -> list[Tensor]:
    """h_0 (the embedding), h_1, ..., h_L: residuals after each layer, each [B, T, h], of one forward pass.

    ids: [B, T] int64 without padding, behind what `cache` knows; None where nothing precedes them. They are taken by
    hooks on the layers: the last of transformers' `hidden_states` has been through the final norm already, and a second
    norm would corrupt the lens.
    Raises Unimplemented where norm and head on h_L do not give the model's own logits (families that cap or scale
    them), FailedPrecondition where they are not finite.
    """
    parts = parts_of(model)
    with _caught(parts) as caught:
        options = {"use_cache": False} if cache is None else {"use_cache": True, "past_key_values": cache}
        logits = model(input_ids=ids, **options).logits
    last = logits[:1, -1].float()
    if not torch.isfinite(logits).all():
        raise FailedPrecondition(
            "model: gives logits that are not finite; check its weights for NaN", reason="MODEL_NOT_FINITE"
        )
    share = _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
    if (parts.logits(caught[-1][:1, -1]) - last).abs().max() > share * last.abs().max().clamp(min=1.0):
        raise Unimplemented(
            f"model: {type(model).__name__} does more to its last residual than norm and head; the logit lens would "
            "show something else than the model says",
            reason="NO_LOGIT_LENS",
        )
    return caught


def caught_residuals(model: PreTrainedModel, ids: Tensor) -> list[Tensor]:
    """The same without a look at the head: gradients flow, and nothing is checked."""
    with _caught(parts_of(model)) as caught:
        model.base_model(input_ids=ids, use_cache=False)
    return caught


@contextmanager
def _caught(parts: Parts) -> Iterator[list[Tensor]]:
    """Fills the list during a forward pass of this thread; passes of others on the same model are not seen."""
    found: list[Tensor] = []
    thread = threading.get_ident()

    def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if threading.get_ident() == thread:
            found.append(arguments[0] if arguments else named["hidden_states"])

    def after(_module: Any, _arguments: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            found.append(output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        hooks.callback(parts.layers[0].register_forward_pre_hook(before, with_kwargs=True).remove)
        for layer in parts.layers:
            hooks.callback(layer.register_forward_hook(after).remove)
        yield found
