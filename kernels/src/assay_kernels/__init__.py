"""Block-sparse attention whose blocks are chosen from sketches: Sketch&Walk (arXiv:2602.07397), op by op.

Conventions of every op:

- q [batch, query_heads, q_len, head_dim]; k, v [batch, kv_heads, k_len, head_dim]; query_heads is a multiple of
  kv_heads, and query head h reads key head h // (query_heads // kv_heads). Queries are the last q_len positions.
- `starts`, integers [batch], is the index of each row's first real token (left padding); None means 0. Blocks count
  from there, so that what is chosen for a row never depends on what else is in the batch.
- `block_size` is a power of two, 16 at least.
- Forward only: nothing here has a gradient.
"""

from __future__ import annotations

from assay_kernels.dispatch import Implementation, triton_is_usable
from assay_kernels.ops.block_score import block_score
from assay_kernels.ops.block_sparse_decode import block_sparse_decode
from assay_kernels.ops.block_sparse_prefill import block_sparse_prefill
from assay_kernels.ops.select_blocks import block_budget, select_blocks
from assay_kernels.ops.sketch_pool import BlockSketch, FeatureSketch, extend_blocks, feature_sketch, sketch_pool
from assay_kernels.ops.walk import walk
from assay_kernels.query_blocks import QueryBlocks, query_blocks, settled_length
from assay_kernels.selection import BlockSelection, count_pairs, density

__all__ = [
    "BlockSelection",
    "BlockSketch",
    "FeatureSketch",
    "Implementation",
    "QueryBlocks",
    "block_budget",
    "block_score",
    "block_sparse_decode",
    "block_sparse_prefill",
    "count_pairs",
    "density",
    "extend_blocks",
    "feature_sketch",
    "query_blocks",
    "select_blocks",
    "settled_length",
    "sketch_pool",
    "triton_is_usable",
    "walk",
]
