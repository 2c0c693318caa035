"""The cache that makes a forward pass sparse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from assay.errors import FailedPrecondition, InvalidInput, Unimplemented
from assay_inference_optimizer.core.sparse import active
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.densities import NOT_CAUSAL, layer_densities
from assay_inference_optimizer.core.sparse.fallbacks import Dense, Fallback, unsuited
from assay_inference_optimizer.core.sparse.growing_layer import GrowingLayer
from assay_inference_optimizer.core.sparse.recurrent import Snapshots, select_rows
from assay_inference_optimizer.core.sparse.sparse_layer import Chosen, SparseLayer

Watcher = Callable[[int, Chosen], None]


class SparseCache(Cache):
    """A transformers cache with the walk state and the sketches of every layer beside its keys and values.

    Passed as past_key_values to a model that `attach` has prepared, it makes the pass sparse. One batch, one thread at
    a time; different caches may be used on one model by different threads. Rows padded on the left are blocked from
    their own first token, so what is chosen for a row does not depend on the others.

    A pass of one token after others is a decoding step, whose scores come from the last queries; everything else is
    read as (part of) a prompt. `decoding` and `reading` say otherwise. One list of key blocks serves a whole query
    block, so a prompt read in chunks equals one read in one go where chunks end with blocks: `prefill` sees to that.

    model_config: the model's; a multimodal model's text part counts. rollback_tokens: how many tokens `crop` can take
    back, their queries are kept; at least 128 by default. Raises what `SparseConfig.check` raises.
    """

    layers: Any  # a list of transformers' and our layers

    def __init__(
        self, model_config: PreTrainedConfig, sparse: SparseConfig, *, rollback_tokens: int | None = None
    ) -> None:
        sparse.check(model_config)
        self.rollback_tokens = max(128, sparse.block_size) if rollback_tokens is None else rollback_tokens
        text = model_config.get_text_config(decoder=True)
        self.sparse = sparse
        self._fallbacks = unsuited(text)
        densities = layer_densities(sparse, int(text.num_hidden_layers), self._fallbacks)
        layers: list[Any] = DynamicCache(config=model_config).layers
        for index, layer in enumerate(layers):
            if type(layer) is not DynamicLayer:
                continue
            if index in self._fallbacks:
                layers[index] = GrowingLayer()
            elif densities[index] == 1:
                layers[index] = GrowingLayer()
                self._fallbacks[index] = Fallback(index, Dense.CONFIGURED, "is asked to stay dense")
            else:
                layers[index] = SparseLayer(index, sparse, densities[index], rollback_tokens=self.rollback_tokens)
        super().__init__(layers=layers)
        self._snapshots = Snapshots(layers)
        self._starts: Tensor | None = None  # int64 [B]
        self._padded = False
        self._read = 0
        self._walked: list[Tensor] = []
        self._decoding = False
        self._asked: bool | None = None
        self._watcher: Watcher | None = None

    # What a caller asks.

    def fallbacks(self) -> tuple[Fallback, ...]:
        """Layers that run dense and why; complete after the first pass, which alone shows learned sinks."""
        return tuple(self._fallbacks[layer] for layer in sorted(self._fallbacks))

    def density(self) -> dict[int, float]:
        """Attended over causal (query, key) pairs of all passes so far, by layer with full causal attention.

        Counted from the chosen blocks; 1 where a layer ran dense. Sliding-window and state-space layers, which do not
        attend to the causal pairs in the first place, are left out.
        """
        found: dict[int, float] = {}
        for index, layer in enumerate(self.layers):
            if self.is_sparse(index):
                pairs = layer.pairs()
                if pairs is not None and int(pairs[1].sum()):
                    found[index] = int(pairs[0].sum()) / int(pairs[1].sum())
            elif self._is_full(index):
                found[index] = 1.0
        return found

    def mean_density(self) -> float:
        """Mean of `density` over its layers; 1 where there are none."""
        densities = self.density()
        return sum(densities.values()) / len(densities) if densities else 1.0

    def row_density(self, row: int) -> dict[int, float]:
        """`density` of one row of the batch."""
        found = self.density()
        for index in found:
            if self.is_sparse(index):
                attended, causal = (int(count[row]) for count in self.layers[index].pairs())
                found[index] = attended / causal if causal else 1.0
        return found

    def forget_density(self) -> None:
        """Starts counting anew."""
        for layer in self.layers:
            if isinstance(layer, SparseLayer):
                layer.forget_density()

    def held_bytes(self) -> int:
        """Bytes of keys, values, sketches and walks, spare room included."""
        total = 0
        for layer in self.layers:
            if isinstance(layer, GrowingLayer):
                total += layer.held_bytes()
            elif isinstance(layer, CacheLayerMixin):
                total += sum(part.nbytes for part in (layer.keys, layer.values) if part is not None)
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                states = [*layer.conv_states.values(), *layer.recurrent_states.values()]
                total += sum(state.nbytes for state in states if state is not None)
        return total

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Within it every token is a decoding step, also several in one pass: what verifying a draft needs."""
        yield from self._asking(True)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within it every token belongs to a prompt, also a single one."""
        yield from self._asking(False)

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Within it `watcher` is called with every sparse layer and what it chose."""
        before, self._watcher = self._watcher, watcher
        try:
            yield
        finally:
            self._watcher = before

    # What hooks and attention call.

    def begin_pass(self, batch: int, tokens: int, attention_mask: Tensor | None, walked: Sequence[Tensor] = ()) -> None:
        """A forward pass over `tokens` new tokens of `batch` rows begins.

        attention_mask: [B, all tokens], 0 for padding on the left; None for none. walked: what `walked` gave after the
        layers before, where the pass begins with a later one. Raises InvalidInput for padding elsewhere, or other than
        before; Unimplemented for a mask of another shape.
        """
        have = self.tokens
        self._set_starts(batch, have, tokens, attention_mask)
        self._decoding = (tokens == 1 and have > 0) if self._asked is None else self._asked
        self._walked = list(walked)
        self._keep_windows()
        if self._snapshots.needed:
            self._snapshots.take(have)
        self._read = have + tokens

    @property
    def walked(self) -> tuple[Tensor, ...]:
        """R of the last sparse layer that was run, for each decoding step of the pass; () while a prompt is read, which
        runs through all layers at once."""
        return tuple(self._walked) if self._decoding else ()

    def is_sparse(self, layer: int) -> bool:
        return isinstance(self.layers[layer], SparseLayer) and layer not in self._fallbacks

    def keys_of(self, layer: int) -> Tensor:
        keys: Tensor = self.layers[layer].keys
        return keys

    def fall_back(self, layer: int, why: Dense, detail: str) -> None:
        self._fallbacks[layer] = Fallback(layer, why, detail)

    def attend(self, layer: int, query: Tensor, scaling: float) -> Tensor:
        """query: [B, Hq, Q, D], of the tokens that were stored last. Returns the attention's output of that shape."""
        starts = self._starts if self._padded else None
        output: Tensor
        output, choices = self.layers[layer].attend(
            query, starts, scaling, decoding=self._decoding, walked=self._walked
        )
        self._walked = [chosen.scores for chosen in choices]
        if self._watcher is not None:
            for chosen in choices:
                self._watcher(layer, chosen)
        return output

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if active.active() is not self:
            raise FailedPrecondition(
                "model: runs on a sparse cache without sparse attention; call attach(model) first",
                reason="NOT_ATTACHED",
            )
        updated: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        return updated

    # What transformers and generation loops ask of any cache.

    def crop(self, tokens_to_remove: int) -> None:
        """Takes back the last -tokens_to_remove tokens of every layer: keys, sketches, walk and recurrent states.

        Nothing is changed where it raises FailedPrecondition: for more than rollback_tokens, and, with recurrent
        layers, for a length at which none of the last passes began.
        """
        if tokens_to_remove > 0:
            raise ValueError(f"crop: {tokens_to_remove} is above 0; give the tokens to take back as a negative number")
        removed = min(-tokens_to_remove, self.tokens)
        if removed == 0:
            return
        kept = self.tokens - removed
        if kept == 0:
            self.reset()
            return
        for index, layer in enumerate(self.layers):
            if self.is_sparse(index):
                layer.check_crop(removed)
            elif isinstance(layer, DynamicSlidingWindowLayer):
                _check_sliding(layer, removed)
        if self._snapshots.needed:
            self._snapshots.restore(kept)
        for layer in self.layers:
            if isinstance(layer, DynamicSlidingWindowLayer):
                DynamicSlidingWindowLayer.crop(layer, -removed)
            elif isinstance(layer, LinearAttentionCacheLayerMixin):
                if isinstance(layer, DynamicLayer):
                    DynamicLayer.crop(layer, -removed)
            else:
                layer.crop(-removed)
        self._read = kept

    def reset(self) -> None:
        super().reset()  # type: ignore[no-untyped-call]
        self._starts, self._padded, self._read = None, False, 0
        self._walked = []
        self._snapshots.forget()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        rows = indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices
        for layer in self.layers:
            if isinstance(layer, DynamicLayer):
                layer.batch_select_indices(rows)
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                select_rows(layer, rows)
        self._select(rows)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self._starts is not None:
            rows = torch.arange(len(self._starts), device=self._starts.device).repeat_interleave(repeats)
            self.batch_select_indices(rows)

    @property
    def tokens(self) -> int:
        """Positions read so far, padding included."""
        attention = [layer for layer in self.layers if isinstance(layer, CacheLayerMixin)]
        return int(attention[0].get_seq_length()) if attention else self._read

    @property
    def is_croppable(self) -> bool:
        """Whether any length can be gone back to; with recurrent layers only those at which a pass began."""
        return not self._snapshots.needed

    def _keep_windows(self) -> None:
        """Sliding windows hold what `crop` may ask for, and no more."""
        for layer in self.layers:
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.record_past = True
                if layer.keys is not None and layer.values is not None:
                    kept = layer.sliding_window - 1 + self.rollback_tokens
                    layer.keys, layer.values = layer.keys[:, :, -kept:], layer.values[:, :, -kept:]

    def _asking(self, decoding: bool) -> Iterator[None]:
        before, self._asked = self._asked, decoding
        try:
            yield
        finally:
            self._asked = before

    def _is_full(self, layer: int) -> bool:
        """Whether a layer attends to all causal pairs."""
        fallback = self._fallbacks.get(layer)
        return fallback is None or fallback.why not in NOT_CAUSAL

    def _select(self, rows: Tensor) -> None:
        if self._starts is not None:
            self._starts = self._starts.index_select(0, rows.to(self._starts.device))
            self._padded = bool((self._starts > 0).any())
        self._snapshots.select(rows)

    def _set_starts(self, batch: int, have: int, tokens: int, mask: Tensor | None) -> None:
        if mask is None:
            if self._padded:
                raise InvalidInput("attention_mask", "is missing, and rows of the cache are padded; give it every time")
            if self._starts is None:
                self._starts = torch.zeros(batch, dtype=torch.int64)
            return
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            raise Unimplemented("attention_mask: sparse attention knows padding alone; give one of [batch, tokens]")
        if tuple(mask.shape) != (batch, have + tokens):
            raise InvalidInput(
                "attention_mask",
                f"has shape {tuple(mask.shape)}; {batch} rows have {have} tokens in the cache and {tokens} new ones",
            )
        real = mask.bool()
        starts = have + tokens - real.sum(1)
        if not bool((real == (torch.arange(have + tokens, device=real.device) >= starts[:, None])).all()):
            raise InvalidInput("attention_mask", "has padding behind a row's first token; pad rows on the left")
        if self._starts is not None and have:
            known = self._starts.to(starts.device)
            # A row of padding alone may go on with padding.
            if not bool(torch.where(known < have, starts == known, starts >= have).all()):
                raise InvalidInput("attention_mask", "begins rows elsewhere than before; the cache is of other rows")
        self._starts = starts
        self._padded = bool((starts > 0).any())


def _check_sliding(layer: Any, removed: int) -> None:
    needed = min(layer.cumulative_length - removed, layer.sliding_window - 1) + removed
    if layer.keys.shape[2] < needed:
        raise FailedPrecondition(
            f"cache: a sliding-window layer no longer has the keys to take {removed} tokens back; prefill again",
            reason="ROLLBACK_TOO_LONG",
        )
