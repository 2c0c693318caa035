"""Reading a prompt piece by piece: a pass over all of it would hold up whoever shares the thread, and cancelling."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from transformers import Cache

from assay.cancel import CancelToken
from assay_inference_optimizer.core.early_exit.stack import DecoderStack
from assay_inference_optimizer.core.generation.cache_facts import reading, sparse_settings


def read_prompt(
    stack: DecoderStack, input_ids: Tensor, cache: Cache, cancel: CancelToken, piece_tokens: int
) -> Iterator[Tensor]:
    """Takes the prompt into all layers of the cache, checking `cancel` before each piece.

    input_ids: [1, T] int64. Yields the residual after the last layer of each piece, [1, at most piece_tokens, h]; where
    the cache is sparse a piece has a block at least, so that it chooses what the whole prompt would.
    """
    sparse = sparse_settings(cache)
    size = piece_tokens if sparse is None else max(piece_tokens, sparse.block_size)
    for piece in input_ids.split(size, dim=1):
        cancel.check()
        with reading(cache):
            read, _ = stack.run(0, stack.depth, stack.embed(piece), cache)
        yield read.hidden
