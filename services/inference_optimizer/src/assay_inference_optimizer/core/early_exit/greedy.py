"""Plain greedy decoding through the same layers: what speculation must equal, and is timed against."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput, OutOfRange
from assay_inference_optimizer.core.early_exit.prompt import read_prompt
from assay_inference_optimizer.core.early_exit.stack import DecoderStack, stack_of
from assay_inference_optimizer.core.generation.forward import PREFILL_TOKENS
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache


@torch.no_grad()
def greedy(
    model: PreTrainedModel,
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    eos: Collection[int] = (),
    cancel: CancelToken,
    cache: Cache | None = None,
) -> Iterator[tuple[int, float]]:
    """Yields (token, its log-probability in nats), one full pass each; of equal logits the lowest id wins.

    input_ids: [1, T] int64, what the cache does not know yet, read in pieces of PREFILL_TOKENS. Ends after
    `max_new_tokens` or the first of `eos`. Raises Internal where the model computes no numbers.
    """
    stack = stack_of(model)
    cache = stack.new_cache() if cache is None else cache
    check_prompt(stack, input_ids, max_new_tokens, cache)
    if isinstance(cache, SparseCache):
        attach(model)
    *_, hidden = read_prompt(stack, input_ids, cache, cancel, PREFILL_TOKENS)
    for left in range(max_new_tokens - 1, -1, -1):
        logits = stack.logits(hidden[:, -1:])[0, 0]
        token = int(logits.argmax())
        yield token, float(log_probabilities(logits[None], [token])[0])
        if token in eos or not left:
            return
        cancel.check()
        hidden = stack.run(0, stack.depth, stack.embed(input_ids.new_tensor([[token]])), cache)[0].hidden


def check_prompt(stack: DecoderStack, input_ids: Tensor, max_new_tokens: int, cache: Cache) -> None:
    """InvalidInput for anything but one prompt of known tokens, OutOfRange where the answer leaves the context."""
    if input_ids.ndim != 2 or input_ids.shape[0] != 1 or not input_ids.numel():
        raise InvalidInput("input_ids", f"has shape {tuple(input_ids.shape)}; give one prompt, [1, T] with T >= 1")
    vocabulary = stack.parts.vocabulary
    if int(input_ids.min()) < 0 or int(input_ids.max()) >= vocabulary:
        raise InvalidInput("input_ids", f"has ids outside 0..{vocabulary - 1}; use the model's own tokenizer")
    if max_new_tokens < 1:
        raise InvalidInput("max_new_tokens", f"is {max_new_tokens}; ask for at least 1")
    limit = getattr(stack.config, "max_position_embeddings", None)
    if stack.recurrent or limit is None:
        return
    known = cache.get_seq_length() if cache.layers else 0
    if (needed := known + input_ids.shape[1] + max_new_tokens) > limit:
        raise OutOfRange(
            f"input_ids: prompt and answer take {needed} tokens and the model reads {limit}; shorten the prompt or "
            "ask for fewer tokens",
            reason="CONTEXT_EXCEEDED",
        )


def log_probabilities(logits: Tensor, tokens: list[int]) -> list[float]:
    """Of tokens[i] under logits[i], [n, V]; nats."""
    index = torch.tensor(tokens, device=logits.device)[:, None]
    chosen: list[float] = (logits.gather(1, index)[:, 0] - logits.logsumexp(dim=-1)).tolist()
    return chosen
