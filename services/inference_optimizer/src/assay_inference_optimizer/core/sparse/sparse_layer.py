"""One attention layer of a sparse cache: keys, values, and what choosing blocks needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay_inference_optimizer.core.sparse.baselines import block_mass, chance, recency, rows_of
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig
from assay_inference_optimizer.core.sparse.growing_layer import GrowingLayer
from assay_inference_optimizer.core.sparse.sketch_walk import SketchWalk
from assay_inference_optimizer.core.sparse.step import Step
from assay_kernels import (
    BlockSelection,
    QueryBlocks,
    block_sparse_decode,
    block_sparse_prefill,
    count_pairs,
    select_blocks,
)


@dataclass(frozen=True)
class Chosen:
    """One layer's choice in one forward pass. scores: float32 [B, entries, blocks], what was chosen by."""

    selection: BlockSelection
    scores: Tensor
    step: Step


class SparseLayer(GrowingLayer):  # type: ignore[no-untyped-call]
    """Attends to the blocks that `sparse.method` chooses, at the given density."""

    def __init__(self, index: int, sparse: SparseConfig, density: float, *, rollback_tokens: int) -> None:
        super().__init__()
        self.index = index
        self.density = density
        self._sparse = sparse
        walks = sparse.method in (Method.SKETCH_WALK, Method.ONE_HOP)
        self._walk = SketchWalk(sparse, rollback_tokens=rollback_tokens) if walks else None
        self._scaling = 1.0
        self._starts: Tensor | None = None
        self._attended: Tensor | None = None  # int64 [B]: (query, key) pairs since the start or `forget_density`
        self._causal: Tensor | None = None

    def attend(
        self, query: Tensor, starts: Tensor | None, scaling: float, *, decoding: bool, walked: Sequence[Tensor]
    ) -> tuple[Tensor, list[Chosen]]:
        """Attention of `query` [B, Hq, Q, D], the last Q tokens of what `update` has stored, and what was chosen.

        decoding: each token is a step of its own, in order. walked: R of the sparse layer before, one a step; empty
        where there is none.
        """
        self._scaling, self._starts = scaling, starts
        if not decoding:
            output, chosen = self._attend(Step(query, self.keys, starts, scaling, False), next(iter(walked), None))
            return output, [chosen]
        outputs, choices = [], []
        for index in range(query.shape[2]):
            seen = self.keys.shape[2] - query.shape[2] + index + 1
            step = Step(query[:, :, index : index + 1], self.keys[:, :, :seen], starts, scaling, True)
            output, chosen = self._attend(step, walked[index] if walked else None)
            outputs.append(output)
            choices.append(chosen)
        return torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0], choices

    def pairs(self) -> tuple[Tensor, Tensor] | None:
        """(attended, causal): int64 [B] each, (query, key) pairs of all passes; None before the first."""
        return None if self._attended is None or self._causal is None else (self._attended, self._causal)

    def forget_density(self) -> None:
        self._attended = self._causal = None

    def check_crop(self, removed: int) -> None:
        """FailedPrecondition where `removed` tokens are more than can be taken back."""
        if self._walk is not None and removed < self.get_seq_length():
            self._walk.check_crop(removed)

    def crop(self, tokens_to_remove: int) -> None:
        """Takes back the last -tokens_to_remove tokens, sketches and walk included."""
        before = self.get_seq_length()
        removed = min(-tokens_to_remove, before)
        if self._walk is not None and removed > 0:
            kept = self.keys[:, :, : before - removed]
            self._walk.crop(removed, Step(kept[:, :, :0], kept, self._starts, self._scaling, decoding=False))
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        super().reset()
        self.forget_density()
        self._starts = None
        if self._walk is not None:
            self._walk.reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._select(_as_indices(indices))

    def batch_repeat_interleave(self, repeats: int) -> None:
        rows = torch.arange(self.keys.shape[0]).repeat_interleave(repeats) if self.get_seq_length() else None
        super().batch_repeat_interleave(repeats)
        if rows is not None:
            self._select(rows)

    def held_bytes(self) -> int:
        return super().held_bytes() + (0 if self._walk is None else self._walk.held_bytes())

    def _attend(self, step: Step, walked: Tensor | None) -> tuple[Tensor, Chosen]:
        rows, scores = self._scores(step, walked)
        size = self._sparse.block_size
        selection = select_blocks(
            scores,
            rows,
            density=self.density,
            sink_blocks=-(-self._sparse.sink_tokens // size),
            window_blocks=-(-self._sparse.window_tokens // size),
        )
        attention = block_sparse_decode if step.queries == 1 else block_sparse_prefill
        values = self.values[:, :, : step.tokens]
        # Made for these very rows: its indices need no second look.
        output, _ = attention(
            step.query, step.key, values, selection, starts=step.starts, scaling=step.scaling, check=False
        )
        self._count(selection, step)
        return output, Chosen(selection, scores, step)

    def _scores(self, step: Step, walked: Tensor | None) -> tuple[QueryBlocks, Tensor]:
        if self._walk is not None:
            found = self._walk.score(step, walked)
            return found.rows, found.walked
        rows = rows_of(step, self._sparse.block_size)
        if self._sparse.method is Method.ORACLE:
            return rows, block_mass(step, rows)
        if self._sparse.method is Method.RANDOM:
            return rows, chance(step, rows, self._sparse.seed * 1009 + self.index)
        return rows, recency(step, rows)

    def _count(self, selection: BlockSelection, step: Step) -> None:
        attended, causal = count_pairs(selection, step.queries, step.tokens, starts=step.starts)
        heads = selection.indices.shape[1]
        attended, causal = attended // heads, causal // heads
        self._attended = attended if self._attended is None else self._attended + attended
        self._causal = causal if self._causal is None else self._causal + causal

    def _select(self, rows: Tensor) -> None:
        if self._walk is not None:
            self._walk.select(rows)
        for name in ("_attended", "_causal", "_starts"):
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, tensor.index_select(0, rows.to(tensor.device)))


def _as_indices(indices: Tensor) -> Tensor:
    """Row numbers, also of a mask of rows."""
    return indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices
