"""The verifying half: layers above the exit, which see the kept hidden states of drafts in batches."""

from __future__ import annotations

from torch import Tensor
from transformers import Cache

from assay_inference_optimizer.core.early_exit.residual import Residual
from assay_inference_optimizer.core.early_exit.rollback import Mark, drop_last, holds_recurrent, mark, restore
from assay_inference_optimizer.core.early_exit.stack import DecoderStack
from assay_inference_optimizer.core.generation.cache_facts import decoding

# Hidden states that a recurrent state may lag behind before it is brought up to date.
_MOST_PENDING = 32


class UpperLayers:
    """Layers exit_layer + 1 to L and what they have not yet taken in for good.

    `verify` shows them hidden states tentatively, `keep` decides how many stay. Attention layers are cropped.
    A recurrent state goes back to its copy from before the batch, and the kept hidden states are shown to it again
    together with the next batch: no pass is spent on going back.

    guarded: also keep what is needed to compute any position exactly as one-token decoding would (`exact_logits`):
    the last state that one-token passes led to, and the hidden states since.
    """

    def __init__(self, stack: DecoderStack, exit_layer: int, cache: Cache, *, guarded: bool) -> None:
        self._stack, self._exit, self._cache, self._guarded = stack, exit_layer, cache, guarded
        self._recurrent = holds_recurrent(cache, exit_layer, stack.depth)
        self._pending: list[Residual] = []
        self._tried: list[Residual] = []
        self._before: Mark | None = None
        self._exact_at: Mark | None = None
        self._since_exact: list[Residual] = []

    def verify(self, drafted: list[Residual]) -> Tensor:
        """drafted: n of one token each, after the exit layer. Returns logits [n, V] of the tokens that follow."""
        batch = [*self._pending, *drafted]
        if self._guarded and self._exact_at is None and len(batch) > 1:
            self._exact_at = self._mark()
        self._before = self._mark() if self._recurrent and len(drafted) > 1 else None
        self._tried = drafted
        return self._logits(Residual.joined(batch))[-len(drafted) :]

    def keep(self, count: int) -> None:
        """The first `count` >= 1 of the hidden states verified last are part of the text; the others never were."""
        kept, dropped = self._tried[:count], len(self._tried) - count
        if self._exact_at is not None:
            self._since_exact += kept
        if not dropped:
            self._pending = []
        elif self._before is None:
            drop_last(self._cache, self._exit, self._stack.depth, dropped)
        else:
            restore(self._cache, self._before)
            self._pending += kept
        if len(self._pending) > _MOST_PENDING:
            self.settle()

    def exact_logits(self, count: int) -> Tensor:
        """Logits [V] after the first `count` hidden states verified last, which are kept: one token at a time.

        Everything since the last exact state is shown again, singly; each token is so at most once in its life.
        """
        if self._exact_at is None:  # the verified state was a one-token pass
            raise RuntimeError("nothing inexact was verified")
        restore(self._cache, self._exact_at)
        again = [*self._since_exact, *self._tried[:count]]
        for one in again[:-1]:
            self._show(one)
        logits = self._logits(again[-1])[0]
        self._exact_at, self._since_exact, self._pending = None, [], []
        return logits

    @property
    def exact(self) -> bool:
        """Whether what was verified last came from one-token passes alone."""
        return self._exact_at is None

    def settle(self) -> None:
        """Takes in all that is pending, so that the cache is as after plain decoding."""
        if self._pending:
            self._show(Residual.joined(self._pending))
            self._pending = []

    def _mark(self) -> Mark:
        return mark(self._cache, self._exit, self._stack.depth)

    def _show(self, residual: Residual) -> Tensor:
        """n tokens to [1, n, h] after the last layer."""
        with decoding(self._cache):
            return self._stack.run(self._exit, self._stack.depth, residual, self._cache)[0].hidden

    def _logits(self, residual: Residual) -> Tensor:
        """[n, V]."""
        return self._stack.logits(self._show(residual))[0]
