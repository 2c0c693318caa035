"""block_sparse_decode: attention of each row's newest token to the key blocks selected for it.

Flash-decoding: the list is cut into splits, each gives a partial output and its log-sum-exp, and the partial outputs
are merged with weights exp(lse_split - lse).
"""

from __future__ import annotations

from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.ops.block_sparse_prefill import attend_reference
from assay_kernels.paging import check_call
from assay_kernels.selection import BlockSelection


def block_sparse_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    starts: Tensor | None = None,
    scaling: float | None = None,
    block_table: Tensor | None = None,
    lengths: Tensor | None = None,
    check: bool = True,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor]:
    """(out, lse) as block_sparse_prefill gives them, for q [batch, query_heads, 1, head_dim].

    A row's result does not depend on the other rows: splits have a fixed length. Raises ValueError for several
    queries, and as block_sparse_prefill does.
    """
    if q.dim() != 4 or q.shape[2] != 1:
        raise ValueError(f"q: shape {tuple(q.shape)}; one query for each row, block_sparse_prefill takes several")
    chosen = choose(implementation, q)
    call = check_call(
        q, k, v, selection, starts=starts, scaling=scaling, block_table=block_table, lengths=lengths, check=check
    )
    del chosen
    return attend_reference(call)
