"""Reading a prompt in chunks that choose the same blocks as one pass would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_kernels import settled_length


def prefill(
    model: PreTrainedModel,
    input_ids: Tensor,
    cache: SparseCache,
    *,
    attention_mask: Tensor | None = None,
    chunk_tokens: int | None = None,
    all_logits: bool = False,
    cancel: CancelToken,
) -> Tensor:
    """Reads `input_ids` [B, T] into `cache`, behind what it holds; returns logits [B, 1, V] of the last token, or all.

    attention_mask: [B, tokens of the cache + T], 0 for padding on the left. chunk_tokens: of a pass, about: passes end
    where blocks end, since a block's key blocks follow from all of its queries, and the rest is carried into the next
    pass. Where rows end their blocks at different columns, up to a block is read a second time; with recurrent layers
    it is not, and rows other than the first to end may choose as if their block ended there. None reads all at once.
    """
    have, new = cache.tokens, input_ids.shape[1]
    if new < 1:
        raise InvalidInput("input_ids", "are empty; give at least one token")
    size = cache.sparse.block_size
    chunk = new if chunk_tokens is None else chunk_tokens
    if chunk < 1:
        raise InvalidInput("chunk_tokens", f"is {chunk}; give at least 1")
    starts = _starts(input_ids, attention_mask, have + new)
    parts: list[Tensor] = []
    position, end = have, have + new
    with cache.reading():
        while position < end:
            cancel.check()
            stop, settled = _next_stop(position, chunk, end, starts, size)
            options: dict[str, Any] = {} if all_logits else {"logits_to_keep": 1}
            if attention_mask is not None:
                options["attention_mask"] = attention_mask[:, :stop]
                columns = torch.arange(position, stop, device=input_ids.device)
                first = torch.tensor(starts, device=input_ids.device)
                options["position_ids"] = (columns - first[:, None]).clamp(min=0)
            ids = input_ids[:, position - have : stop - have]
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True, **options).logits
            if settled < stop and cache.is_croppable:
                cache.crop(settled - stop)
                stop = settled
            parts = [*parts, logits[:, : stop - position]] if all_logits else [logits]
            position = stop
    return torch.cat(parts, dim=1)


def _starts(input_ids: Tensor, mask: Tensor | None, total: int) -> list[int]:
    if mask is None:
        return [0] * input_ids.shape[0]
    if tuple(mask.shape) != (input_ids.shape[0], total):
        raise InvalidInput("attention_mask", f"has shape {tuple(mask.shape)}; give {(input_ids.shape[0], total)}")
    starts: list[int] = (total - mask.bool().sum(1)).tolist()
    return starts


def _next_stop(position: int, chunk: int, end: int, starts: list[int], size: int) -> tuple[int, int]:
    """(where the pass ends, up to where all rows have settled by then), the latter beyond `position`."""
    stop = position + chunk
    while stop < end:
        settled = [start + settled_length(stop - start, size) if start < stop else stop for start in starts]
        if min(settled) > position:
            # Rows that end their blocks together end the pass there: nothing is read twice.
            return (settled[0], settled[0]) if len(set(settled)) == 1 else (stop, min(settled))
        stop += 1
    return end, end
