"""Lossless self-speculative decoding: the first layers draft, the others verify, at any exit layer."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition, InvalidInput
from assay_inference_optimizer.core.early_exit.cost import layer_cost
from assay_inference_optimizer.core.early_exit.draft_length import Costs, DraftLength
from assay_inference_optimizer.core.early_exit.greedy import check_prompt, log_probabilities
from assay_inference_optimizer.core.early_exit.prompt import read_prompt
from assay_inference_optimizer.core.early_exit.residual import Residual
from assay_inference_optimizer.core.early_exit.rollback import Mark, check_rollback, mark, restore
from assay_inference_optimizer.core.early_exit.stack import DecoderStack, stack_of
from assay_inference_optimizer.core.early_exit.upper_layers import UpperLayers
from assay_inference_optimizer.core.generation.forward import PREFILL_TOKENS
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache

# Rounding of a batched pass against one-token passes, in units of the type's epsilon at the largest logit.
_ROUNDING = {torch.float64: 1024.0, torch.float32: 1024.0}
_HALF_ROUNDING = 8.0


@dataclass(frozen=True)
class Accepted:
    """What one round settled: nothing while a long prompt is being read.

    tokens: ids, in order; log_probabilities: nats of each under the whole model. drafted, accepted: tokens that the
    lower layers proposed this round, and how many of them the whole model confirmed; one token beyond those accepted
    is the verifying pass's own. replayed: whether a near-tie was decided again by one-token passes.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    drafted: int = 0
    accepted: int = 0
    replayed: bool = False


@torch.no_grad()
def speculate(
    model: PreTrainedModel,
    input_ids: Tensor,
    exit_layer: int,
    max_new_tokens: int,
    *,
    draft_tokens: int = 8,
    eos: Collection[int] = (),
    cancel: CancelToken,
    cache: Cache | None = None,
    near_tie: float | None = None,
) -> Iterator[Accepted]:
    """Greedy decoding, several tokens a pass of the upper layers (after LayerSkip, arXiv:2404.16710, section 4.3).

    The first `exit_layer` layers, the final norm and the head draft up to `draft_tokens` tokens; how many is decided
    draft by draft (`DraftLength`), by confidence and measured times: rounds differ from run to run, tokens do not.
    The remaining layers then verify all of them in one pass over the hidden states that drafting left at the exit:
    no layer sees a token twice, and drafts share the model's own cache. The model is only read; threads may share
    it, each with a cache of its own.

    input_ids: [1, T] int64, the tokens that `cache` (any transformers cache that can take tokens back; a new one
    if None) does not know yet. Read in pieces of PREFILL_TOKENS, with an Accepted without tokens after each but the
    last, so that whoever drives it can do other work. Then yields after each round, the first holding the prompt's
    own next token. Ends after `max_new_tokens` or the first of `eos`. When it ends or is closed past the prompt, the
    cache knows all tokens but the last.

    The tokens are those of `greedy`, which reads the prompt in the same pieces; of equal logits the lowest id. A
    batched pass rounds differently from the one-token passes that greedy decoding takes, so where the two largest
    logits are nearly equal it may prefer the other. Positions closer than `near_tie` (logits; None: 1,024 epsilons at
    the largest logit, 8 in half precision, where near-ties are common and cost most of the gain) are therefore computed
    again token by token from the last state that one-token passes led to, which gives greedy's own bits, ties included.
    0 trusts the batch. What remains is a mixture of experts whose router, or a sparse cache whose blocks, are so nearly
    tied that rounding picks others.

    A sparse cache, for which the model is attached, is read and verified as decoding token by token would: each draft
    chooses its own blocks, and takes along from the exit what a walk goes on from (variant v1). It must be able to
    take back all of the answer (rollback_tokens >= max_new_tokens).

    Raises InvalidInput, OutOfRange (context), FailedPrecondition (cache), Unimplemented (model), Internal (logits
    that are no numbers), Cancelled and DeadlineExceeded, checked every pass; after an error the cache is of no
    further use.
    """
    stack = stack_of(model)
    stack.parts.check_exit(exit_layer)
    if draft_tokens < 1:
        raise InvalidInput("draft_tokens", f"is {draft_tokens}; draft at least 1")
    if near_tie is not None and not near_tie >= 0:
        raise InvalidInput("near_tie", f"is {near_tie}; give 0 or more")
    cache = stack.new_cache() if cache is None else cache
    check_prompt(stack, input_ids, max_new_tokens, cache)
    check_rollback(cache)
    if isinstance(cache, SparseCache):
        _check_sparse(cache, max_new_tokens)
        attach(model)
    assumed = Costs(draft=exit_layer, head=layer_cost(model).head_layers, verify=stack.depth - exit_layer)
    length = DraftLength(draft_tokens, assumed)
    unread = input_ids.shape[1]
    for hidden in read_prompt(stack, input_ids, cache, cancel, PREFILL_TOKENS):
        unread -= hidden.shape[1]
        if unread:
            yield Accepted((), ())
    logits = stack.logits(hidden[:, -1:])[0]
    token = int(logits[0].argmax())
    upper = UpperLayers(stack, exit_layer, cache, guarded=near_tie != 0)
    left = max_new_tokens - 1
    yield Accepted((token,), tuple(log_probabilities(logits, [token])))
    try:
        while left and token not in eos:
            draft = _draft(stack, exit_layer, cache, length, token, input_ids, left - 1, cancel)
            cancel.check()
            begun = time.perf_counter()
            result = _verify(upper, draft, eos, _near(logits, near_tie, model.dtype))
            kept = len(result.tokens)
            if kept < len(draft.marks):
                restore(cache, draft.marks[kept])
            # A replay is no part of what a round usually takes.
            measured = None if result.replayed else draft.costs(time.perf_counter() - begun)
            length.end(draft.confidences[:kept], draft.right(result), len(draft.tokens), measured)
            token, left = result.tokens[-1], left - kept
            yield result
    finally:
        upper.settle()


def _check_sparse(cache: SparseCache, max_new_tokens: int) -> None:
    if cache.rollback_tokens < max_new_tokens:
        raise FailedPrecondition(
            f"cache: takes back {cache.rollback_tokens} tokens and the answer may have {max_new_tokens}; make it with "
            "rollback_tokens of as many",
            reason="ROLLBACK_TOO_SHORT",
        )


@dataclass
class _Draft:
    """tokens: drafts; left: a last one that was looked at and not passed on. confidences: probabilities at the exit of
    all of these. residuals: at the exit, of the token before them and of each draft. marks: of the lower layers before
    each of those passes. pass_s, probe_s: seconds that all passes and all probes took.
    """

    tokens: list[int]
    confidences: list[float]
    residuals: list[Residual]
    marks: list[Mark]
    left: int | None = None
    pass_s: float = 0.0
    probe_s: float = 0.0

    def costs(self, verify_s: float) -> Costs | None:
        """Seconds of one each; None where no probe was timed."""
        if not self.confidences:
            return None
        return Costs(self.pass_s / len(self.residuals), self.probe_s / len(self.confidences), verify_s)

    def right(self, result: Accepted) -> int:
        """How many of the tokens looked at are what the whole model said, from the first on."""
        whole = result.accepted == len(self.tokens) < len(result.tokens)
        return result.accepted + (whole and self.left == result.tokens[-1])


def _draft(
    stack: DecoderStack,
    exit_layer: int,
    cache: Cache,
    length: DraftLength,
    token: int,
    like: Tensor,
    room: int,
    cancel: CancelToken,
) -> _Draft:
    draft = _Draft([], [], [], [])
    length.begin()
    while True:
        cancel.check()
        begun = time.perf_counter()
        draft.marks.append(mark(cache, 0, exit_layer))
        residual, _ = stack.run(0, exit_layer, stack.embed(like.new_tensor([[token]])), cache)
        draft.residuals.append(residual)
        looked = time.perf_counter()
        draft.pass_s += looked - begun
        if not length.probe(len(draft.tokens), room):
            return draft
        logits = stack.logits(residual.hidden)[0, 0]
        top, index = logits.max(dim=-1)
        confidence = float((top - logits.logsumexp(dim=-1)).exp())
        draft.probe_s += time.perf_counter() - looked
        draft.confidences.append(confidence)
        if not length.spend(confidence):
            draft.left = int(index)
            return draft
        token = int(index)
        draft.tokens.append(token)


def _verify(upper: UpperLayers, draft: _Draft, eos: Collection[int], near: float) -> Accepted:
    logits = upper.verify(draft.residuals)  # [drafts + 1, V]
    top = logits.topk(2, dim=-1).values
    # Of equal logits topk may name either first; argmax names the lowest id, as greedy decoding does.
    chosen, gaps = logits.argmax(dim=-1).tolist(), (top[:, 0] - top[:, 1]).tolist()
    accepted, count = 0, 0
    replayed = False
    for position, token in enumerate(chosen):
        count = position + 1
        if gaps[position] <= near and not upper.exact:
            logits[position] = upper.exact_logits(count)
            chosen[position] = int(logits[position].argmax())
            replayed = True
            token = chosen[position]
        agrees = position < len(draft.tokens) and draft.tokens[position] == token
        accepted += agrees
        if not agrees or token in eos or replayed:
            break
    if not replayed:
        upper.keep(count)
    tokens = chosen[:count]
    return Accepted(
        tuple(tokens), tuple(log_probabilities(logits[:count], tokens)), len(draft.tokens), accepted, replayed
    )


def _near(logits: Tensor, near_tie: float | None, dtype: torch.dtype) -> float:
    if near_tie is not None:
        return near_tie
    largest = max(1.0, float(logits.abs().max()))
    return _ROUNDING.get(dtype, _HALF_ROUNDING) * torch.finfo(dtype).eps * largest
