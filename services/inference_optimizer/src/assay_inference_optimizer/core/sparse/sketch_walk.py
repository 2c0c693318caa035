"""Sketch&Walk over a cache: block scores from sketches of queries and keys, walked over blocks and layers.

Prefill, query block i of layer l: row i of A^l from the mean query of the block (assay_kernels.block_score), then
R^l = walk(A^l, R^(l-1)). Decoding: the last 32 queries give a row each, whose mean goes into row i of the layer's A as
a running average over the steps of the block, and the walk starts from that mean inside the layer alone. A is causal at
block level, so what the release does to its column i has no counterpart here: those entries are 0.
Variant v1: heads averaged before pooling, W = softmax^8 renormalised, R^l = R^(l-1) W^l.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant
from assay_inference_optimizer.core.sparse.recent_queries import RecentQueries
from assay_inference_optimizer.core.sparse.step import Step
from assay_kernels import BlockSketch, FeatureSketch, QueryBlocks, block_score, feature_sketch, sketch_pool, walk
from assay_kernels.exact import GRID_BITS, round_to_grid

WINDOW = 32
"""Queries that a decoding step's scores come from. No more than a block's, so that every row of a batch has as many as
it has alone: shorter rows have one block, and nothing to score."""

SHARPNESS = 8
"""The power that v1 raises its softmax to."""


@dataclass(frozen=True)
class Scores:
    """What the blocks were chosen by. rows: the query blocks at hand. one_hop, walked: float32 [B, entries, blocks],
    of A and of R; walked is what is chosen from and what the next layer starts its walk from."""

    rows: QueryBlocks
    one_hop: Tensor
    walked: Tensor


class SketchWalk:
    """The state of one layer: key sketches, A, what is open of the last block, and the last queries."""

    def __init__(self, sparse: SparseConfig, *, rollback_tokens: int) -> None:
        self._sparse = sparse
        self._size = sparse.block_size
        self._window_size = min(WINDOW, self._size)
        self._rollback = rollback_tokens
        self.reset()

    def reset(self) -> None:
        self._sketch: FeatureSketch | None = None
        self._keys: Tensor | None = None  # float32 [B, Hkv, room, r], sketches of blocks
        self._transitions: Tensor | None = None  # float32 [B, room, room]: A
        self._key_open: Tensor | None = None  # float32 [B, Hkv, D]
        self._query_open: Tensor | None = None  # float32 [B, Hq, D]
        self._window: Tensor | None = None  # float32 [B, up to WINDOW, blocks], what each of the last queries gives
        self._recent = RecentQueries(self._rollback + max(self._size, self._window_size))
        self._decoded_rows: dict[int, tuple[Tensor, Tensor]] = {}  # tokens read -> row of A of each open block, block

    def score(self, step: Step, walked: Tensor | None) -> Scores:
        """Takes the step's queries and keys in, and scores the blocks for its query blocks.

        walked: R of the layer before for the same query blocks, None where there is none.
        """
        query, key = self._pooled_heads(step.query), self._pooled_heads(step.key[:, :, step.tokens - step.queries :])
        if self._sketch is None:
            dimensions = self._sparse.sketch_dimensions(query.shape[3])
            self._sketch = feature_sketch(query.shape[3], dimensions, seed=self._sparse.seed, device=query.device)
        keys = self._pool(key, step, self._key_open)
        self._key_open = keys.open_sum
        blocks = -(-step.tokens // self._size)
        self._put_keys(step, keys, blocks)
        self._recent.append(query)
        oldest = step.tokens - self._rollback
        self._decoded_rows = {tokens: row for tokens, row in self._decoded_rows.items() if tokens >= oldest}
        if step.decoding:
            return self._decode(step, query, keys.rows, blocks, walked)
        self._window = None
        queries = self._pool(query, step, self._query_open)
        self._query_open = queries.open_sum
        one_hop = self._block_scores(queries.sketches, queries.rows, blocks, step.scaling)
        self._put_rows(one_hop, queries.rows, blocks)
        return Scores(queries.rows, one_hop, self._walk(one_hop, blocks, walked))

    def check_crop(self, removed: int) -> None:
        """FailedPrecondition for more tokens than queries are kept for."""
        if removed > self._rollback:
            raise FailedPrecondition(
                f"cache: takes back {self._rollback} tokens at most, not {removed}; prefill again, or keep more with "
                "rollback_tokens",
                reason="ROLLBACK_TOO_LONG",
            )

    def crop(self, removed: int, step: Step) -> None:
        """Forgets the last `removed` tokens. step: keys, starts and scaling as they are without them; no queries."""
        if self._sketch is None:
            return
        tokens = step.tokens
        if tokens <= 0:
            self.reset()
            return
        self.check_crop(removed)
        self._recent.drop(removed)
        self._key_open = self._pool_last(step.key, step).open_sum
        queries = self._pool_last(self._recent.tensor, step)
        self._query_open = queries.open_sum
        self._window = None
        blocks = -(-tokens // self._size)
        known = self._decoded_rows.get(tokens)
        for later in [count for count in self._decoded_rows if count > tokens]:
            del self._decoded_rows[later]
        if known is None:
            # The open block's row as the prompt's queries so far give it; rows of complete blocks stand as they are.
            last = QueryBlocks(queries.rows.end - 1, queries.rows.end, 1, self._size)
            entry = (queries.rows.end - 1 - queries.rows.first).clamp(min=0)
            sketches = queries.sketches[torch.arange(len(entry), device=entry.device), :, entry][:, :, None]
            row = self._block_scores(sketches, last, blocks, step.scaling)[:, 0]
            block = last.first
        else:
            row, block = known
        self._restore_rows(row, block, step)

    def select(self, rows: Tensor) -> None:
        """Keeps, repeats or reorders rows of the batch; rows: int64 indices."""
        if self._sketch is None:
            return
        for name in ("_keys", "_transitions", "_key_open", "_query_open", "_window"):
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, tensor.index_select(0, rows.to(tensor.device)))
        self._recent.select(rows)
        self._decoded_rows = {
            tokens: (row.index_select(0, rows.to(row.device)), block.index_select(0, rows.to(block.device)))
            for tokens, (row, block) in self._decoded_rows.items()
        }

    def held_bytes(self) -> int:
        tensors = (self._keys, self._transitions, self._key_open, self._query_open, self._window, self._recent.room)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def _pooled_heads(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) if self._sparse.variant is Variant.V1 else x

    def _pool(self, x: Tensor, step: Step, open_sum: Tensor | None) -> BlockSketch:
        assert self._sketch is not None
        return sketch_pool(
            x, self._sketch, block_size=self._size, k_len=step.tokens, starts=step.starts, open_sum=open_sum
        )

    def _pool_last(self, x: Tensor, step: Step) -> BlockSketch:
        """Of the tokens of the last block, which lies within the last `block_size` of them."""
        return self._pool(self._pooled_heads(x[:, :, -min(self._size, step.tokens) :]), step, None)

    def _block_scores(self, sketches: Tensor, rows: QueryBlocks, blocks: int, scaling: float) -> Tensor:
        assert self._keys is not None
        return block_score(
            sketches,
            self._keys[:, :, :blocks],
            rows,
            scaling=self._score_scaling(scaling),
            causal=self._sparse.causal_sketch,
        )

    def _score_scaling(self, scaling: float) -> float:
        """softmax^8, renormalised, is the softmax of logits eight times as large."""
        return scaling * SHARPNESS if self._sparse.variant is Variant.V1 else scaling

    def _walk(self, one_hop: Tensor, blocks: int, state: Tensor | None) -> Tensor:
        assert self._transitions is not None
        if self._sparse.method is Method.ONE_HOP:
            return one_hop
        transitions = self._transitions[:, :blocks, :blocks]
        if self._sparse.variant is Variant.ICML:
            sparse = self._sparse
            return walk(one_hop, transitions, state, damping=sparse.damping, degree=sparse.degree)
        if state is None:
            return one_hop
        exact = round_to_grid(state.double(), GRID_BITS) @ round_to_grid(transitions.double(), GRID_BITS)
        return round_to_grid(exact, GRID_BITS).float()

    def _decode(self, step: Step, query: Tensor, rows: QueryBlocks, blocks: int, walked: Tensor | None) -> Scores:
        batch = query.shape[0]
        lengths = _lengths(step)
        place = (lengths - 1) % self._size
        self._query_open = self._with_query(query, place)
        self._window = self._next_window(step, query, rows, blocks, place)
        recent = self._window.mean(1, keepdim=True)  # [B, 1, blocks]
        self._transitions = _with_blocks(self._transitions, (batch, blocks, blocks), recent, dims=(1, 2))
        share = 1 / (place + 1).to(torch.float32)[:, None]
        block = rows.first
        batch_rows = torch.arange(batch, device=block.device)
        old = self._transitions[batch_rows, block, :blocks]
        row = torch.where(place[:, None] == 0, recent[:, 0], (1 - share) * old + share * recent[:, 0])
        row = torch.where(lengths[:, None] > 0, row, 0.0)
        self._transitions[batch_rows, block, :blocks] = row
        self._decoded_rows[step.tokens] = (row, block)
        # The ICML version walks within the layer while it decodes.
        state = walked if self._sparse.variant is Variant.V1 else None
        return Scores(rows, recent, self._walk(recent, blocks, state))

    def _with_query(self, query: Tensor, place: Tensor) -> Tensor:
        """The sum of the open block's queries with one more, at `place` of its row's block; 0 once that is complete."""
        assert self._query_open is not None
        place = place[:, None, None]
        total = torch.where(place == 0, 0.0, self._query_open) + query[:, :, 0].float()
        return torch.where(place == self._size - 1, 0.0, total)

    def _next_window(self, step: Step, query: Tensor, rows: QueryBlocks, blocks: int, place: Tensor) -> Tensor:
        """The scores that each of the last queries gives to the blocks before: [B, up to WINDOW, blocks].

        As long as no row begins a block these stay as they are, and only the new query has to be scored.
        """
        known = self._window
        if known is not None and (known.shape[2] != blocks or (step.starts is not None and bool((place == 0).any()))):
            known = None
        queries = self._recent.tensor[:, :, -self._window_size :] if known is None else query
        count = queries.shape[2]
        sketches = self._token_sketches(queries).transpose(1, 2).flatten(0, 1)[:, :, None]  # [B * n, H, 1, r]
        assert self._keys is not None
        found = block_score(
            sketches,
            self._keys[:, :, :blocks].repeat_interleave(count, 0),
            QueryBlocks(rows.first.repeat_interleave(count), rows.end.repeat_interleave(count), 1, self._size),
            scaling=self._score_scaling(step.scaling),
            causal=self._sparse.causal_sketch,
        )
        scored = found.view(-1, count, blocks)
        return scored if known is None else torch.cat([known, scored], dim=1)[:, -self._window_size :]

    def _token_sketches(self, x: Tensor) -> Tensor:
        assert self._sketch is not None
        batch, heads, count, dimension = x.shape
        apart = x.transpose(1, 2).reshape(batch * count, heads, 1, dimension)  # a block of one token each
        sketches = sketch_pool(apart, self._sketch, block_size=self._size).sketches
        return sketches.reshape(batch, count, heads, -1).transpose(1, 2)

    def _put_keys(self, step: Step, new: BlockSketch, blocks: int) -> None:
        batch, heads, _, dimensions = new.sketches.shape
        self._keys = _with_blocks(self._keys, (batch, heads, blocks, dimensions), new.sketches, dims=(2,))
        if step.starts is None:  # one place for all rows; elsewhere a GPU would have to be waited for
            self._keys[:, :, blocks - new.rows.entries : blocks] = new.sketches
            return
        row, entry = (new.rows.ids() >= 0).nonzero(as_tuple=True)
        self._keys[row, :, new.rows.ids()[row, entry]] = new.sketches[row, :, entry]

    def _put_rows(self, one_hop: Tensor, rows: QueryBlocks, blocks: int) -> None:
        self._transitions = _with_blocks(self._transitions, (one_hop.shape[0], blocks, blocks), one_hop, dims=(1, 2))
        row, entry = (rows.ids() >= 0).nonzero(as_tuple=True)
        self._transitions[row, rows.ids()[row, entry], :blocks] = one_hop[row, entry]

    def _restore_rows(self, row: Tensor, block: Tensor, step: Step) -> None:
        """row: [B, blocks] of A for the block that each row of the batch has open; complete ones keep theirs."""
        assert self._transitions is not None
        lengths = _lengths(step)
        self._transitions = _writable(self._transitions)
        open_rows = (lengths % self._size > 0).nonzero(as_tuple=True)[0]
        self._transitions[open_rows, block[open_rows], : row.shape[1]] = row[open_rows]


def _lengths(step: Step) -> Tensor:
    """int64 [B]: real tokens of each row."""
    if step.starts is None:
        return torch.full((step.key.shape[0],), step.tokens, device=step.key.device)
    return (step.tokens - step.starts).clamp(min=0)


def _writable(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy of one made under inference mode, which takes no writes outside it."""
    return tensor.clone() if tensor.is_inference() and not torch.is_inference_mode_enabled() else tensor


def _with_blocks(room: Tensor | None, shape: tuple[int, ...], like: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`room` with at least `shape`, grown along `dims` by doubling and filled up with zeros."""
    if room is not None and all(room.shape[dim] >= shape[dim] for dim in dims):
        return _writable(room)
    larger = list(shape)
    if room is not None:
        for dim in dims:
            larger[dim] = max(shape[dim], 2 * room.shape[dim])
    grown = like.new_zeros(larger)
    if room is not None:
        grown[tuple(slice(0, length) for length in room.shape)] = room
    return grown
