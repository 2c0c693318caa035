"""One layer's part in one forward pass, as those who score blocks see it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """query: [B, Hq, Q, D], the last Q of the T tokens of key [B, Hkv, T, D]; both after RoPE. starts: int64 [B], the
    first real token of each row; None where all begin at 0. scaling: of the attention logits. decoding: whether the
    query is one token that follows what was read, not part of a prompt."""

    query: Tensor
    key: Tensor
    starts: Tensor | None
    scaling: float
    decoding: bool

    @property
    def queries(self) -> int:
        return self.query.shape[2]

    @property
    def tokens(self) -> int:
        return self.key.shape[2]
