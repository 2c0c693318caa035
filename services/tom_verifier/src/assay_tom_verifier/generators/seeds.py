"""Seeds of drafts that are drawn in batches: the first drafts do not depend on how many are asked for."""

from __future__ import annotations

import hashlib


def batch_seed(seed: int, first: int) -> int:
    """56 bits, of the caller's seed and the place of a batch's first draft."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{first}".encode()).digest()[:7])
