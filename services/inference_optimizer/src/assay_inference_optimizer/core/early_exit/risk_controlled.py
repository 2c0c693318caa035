"""Risk-controlled decoding: tokens leave early by a calibrated rule, and skipped layers catch up when needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.greedy import check_prompt, log_probabilities
from assay_inference_optimizer.core.early_exit.prompt import read_prompt
from assay_inference_optimizer.core.early_exit.residual import Residual
from assay_inference_optimizer.core.early_exit.rules import Rule, measures, state_cosine
from assay_inference_optimizer.core.early_exit.stack import DecoderStack, stack_of
from assay_inference_optimizer.core.generation.cache_facts import decoding, sparse_settings
from assay_inference_optimizer.core.generation.forward import PREFILL_TOKENS
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache

# Tokens that may wait below a layer before they are sent on in one batch.
_MOST_WAITING = 64


@dataclass(frozen=True)
class Emitted:
    """One token. log_probability: nats under the logits at its exit. exit_layer: L where no rule let it go earlier.

    heads: computed for it.
    """

    token: int
    log_probability: float
    exit_layer: int
    heads: int


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    input_ids: Tensor,
    thresholds: Thresholds,
    max_new_tokens: int,
    *,
    eos: Collection[int] = (),
    cancel: CancelToken,
    cache: Cache | None = None,
) -> Iterator[Emitted | None]:
    """Greedy decoding in which a token is said after the first exit layer whose measure passes the threshold.

    A later token that goes deeper attends to keys, or needs a state, that a token which left early never made. Those
    are computed then: its residual was kept at the exit, and all that wait are taken along in one batch (as in
    EE-LLM, arXiv:2312.04916). The other way, copying the exit's residual into the upper layers (CALM), costs less
    and makes every later token another function of the text than the one that was calibrated; a recurrent state
    cannot be copied at all. So layers are saved for as long as no token goes deep, and catching up costs a batch.

    On a sparse cache, for which the model is attached, each of them is a decoding step of its own when it catches up:
    it chooses the blocks it would have chosen then, so that keys, sketches and walks become those of a text from which
    nobody left early. The last token of the prompt belongs to the block that it is read with, and so goes through all
    layers: the first token said is always the whole model's.

    input_ids: [1, T] int64, what the cache does not know yet; a cache given by the caller is brought up to date at
    the end and then knows all tokens but the last. Yields each token; before the first, None after each piece of
    PREFILL_TOKENS of the prompt but the last. Ends after `max_new_tokens` or one of `eos`.
    Raises FailedPrecondition for thresholds of another depth or other sparse settings than the cache's, InvalidInput,
    OutOfRange, Unimplemented, Internal (logits that are no numbers); Cancelled or DeadlineExceeded, checked at every
    piece and exit layer; after an error the cache is of no further use.
    """
    stack = stack_of(model)
    if thresholds.depth != stack.depth:
        raise FailedPrecondition(
            f"thresholds: are of a model with {thresholds.depth} layers, this one has {stack.depth}; calibrate it",
            reason="CALIBRATED_ON_ANOTHER_MODEL",
        )
    owned = cache is None
    cache = stack.new_cache() if cache is None else cache
    thresholds.check_sparse(sparse_settings(cache))
    check_prompt(stack, input_ids, max_new_tokens, cache)
    cancel.check()
    # The prompt is read by all layers: its keys are needed by every token that goes deep.
    sparse = isinstance(cache, SparseCache)
    if sparse:
        attach(model)
    read = input_ids if sparse else input_ids[:, :-1]
    unread = read.shape[1]
    for hidden in read_prompt(stack, read, cache, cancel, PREFILL_TOKENS) if unread else ():
        unread -= hidden.shape[1]
        if unread:
            yield None
    blocks = _Blocks(stack, thresholds, cache)
    said = blocks.whole(hidden[:, -1:]) if sparse else blocks.say(input_ids[:, -1:], cancel)
    yield said
    for _ in range(max_new_tokens - 1):
        if said.token in eos:
            break
        said = blocks.say(input_ids.new_tensor([[said.token]]), cancel)
        yield said
    if not owned:
        blocks.catch_up()


class _Blocks:
    """The layers between exits, each with the residuals that wait to enter it, in the order of their tokens."""

    def __init__(self, stack: DecoderStack, thresholds: Thresholds, cache: Cache) -> None:
        self._stack, self._thresholds, self._cache = stack, thresholds, cache
        exits = thresholds.exit_layers if thresholds.threshold is not None else ()
        self._bounds = [0, *exits, stack.depth]
        self._waiting: list[list[Residual]] = [[] for _ in self._bounds[1:]]

    def whole(self, hidden: Tensor) -> Emitted:
        """What follows a token that went through all layers. hidden: [1, 1, h], after the last."""
        return self._emitted(None, hidden, self._stack.depth, 0)

    def say(self, token_ids: Tensor, cancel: CancelToken) -> Emitted:
        """token_ids: [1, 1], the token to go on from."""
        residual = self._stack.embed(token_ids)
        rule, heads = _Answer(self._thresholds), 0
        for block, exit_layer in enumerate(self._bounds[1:]):
            cancel.check()
            residual, before = self._enter(block, residual)
            hidden = residual.hidden
            if exit_layer == self._stack.depth:
                break
            logits = self._stack.logits(hidden)[0, 0] if self._thresholds.rule.probes else None
            heads += logits is not None
            if rule.lets_go(logits, hidden[:, -1], before[:, -1]):
                self._waiting[block + 1].append(residual)
                if sum(each.tokens for each in self._waiting[block + 1]) > _MOST_WAITING:
                    self._push(block + 1)
                return self._emitted(logits, hidden, exit_layer, heads)
        return self._emitted(None, hidden, self._stack.depth, heads)

    def catch_up(self) -> None:
        """Sends all that wait through all layers."""
        for block in range(1, len(self._waiting)):
            self._push(block)

    def _enter(self, block: int, newest: Residual) -> tuple[Residual, Tensor]:
        """Runs the block on the residuals that wait and the newest; hands on the former, returns the newest's."""
        after, before = self._run(block, [*self._waiting[block], newest])
        if after.tokens > 1 and block + 1 < len(self._waiting):
            self._waiting[block + 1].append(after.part(slice(-1)))
        return after.part(slice(-1, None)), before[:, -1:]

    def _push(self, block: int) -> None:
        """The same without a newest one."""
        if not self._waiting[block]:
            return
        after, _ = self._run(block, self._waiting[block])
        if block + 1 < len(self._waiting):
            self._waiting[block + 1].append(after)

    def _run(self, block: int, residuals: list[Residual]) -> tuple[Residual, Tensor]:
        """The block's layers on all of them, so that none waits there any more."""
        self._waiting[block] = []
        with decoding(self._cache):
            return self._stack.run(
                self._bounds[block], self._bounds[block + 1], Residual.joined(residuals), self._cache
            )

    def _emitted(self, logits: Tensor | None, hidden: Tensor, exit_layer: int, heads: int) -> Emitted:
        if logits is None:
            logits, heads = self._stack.logits(hidden)[0, 0], heads + 1
        token = int(logits.argmax())
        return Emitted(token, log_probabilities(logits[None], [token])[0], exit_layer, heads)


class _Answer:
    """The rule as one token passes its exits."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._rule, self._threshold = thresholds.rule, thresholds.threshold
        self._last: int | None = None
        self._repeats = 0

    def lets_go(self, logits: Tensor | None, after: Tensor, before: Tensor) -> bool:
        """logits: [V] at this exit, None for rules that need none; after, before: [1, h] residuals of its layer."""
        assert self._threshold is not None
        if logits is None:
            measure = state_cosine(after, before)[0]
        elif self._rule is Rule.PATIENCE:
            answer = int(logits.argmax())
            self._repeats = self._repeats + 1 if answer == self._last else 0
            self._last = answer
            measure = torch.tensor(self._repeats)
        else:
            measure = measures(torch.log_softmax(logits, dim=-1))[self._rule]
        return bool(self._rule.exits(measure, self._threshold))
