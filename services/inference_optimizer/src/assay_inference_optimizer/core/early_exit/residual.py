"""What one layer of a decoder hands to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Residual:
    """n tokens on their way between two layers.

    hidden: [1, n, h]. walked: for each token R of the last sparse layer below, [1, 1, blocks], from which variant v1
    goes on while it decodes; () where there is none.
    """

    hidden: Tensor
    walked: tuple[Tensor, ...] = ()

    @property
    def tokens(self) -> int:
        return self.hidden.shape[1]

    def part(self, tokens: slice) -> Residual:
        return Residual(self.hidden[:, tokens], self.walked[tokens])

    @classmethod
    def joined(cls, parts: Sequence[Residual]) -> Residual:
        """All of their tokens, in order; all between the same two layers."""
        if len(parts) == 1:
            return parts[0]
        walked = tuple(each for part in parts for each in part.walked)
        return cls(torch.cat([part.hidden for part in parts], dim=1), walked)
