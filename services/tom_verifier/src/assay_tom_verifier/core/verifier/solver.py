"""A verifier that answers by itself: it takes, step by step, the claim that it scores highest."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, rows_at_once
from assay_tom_verifier.core.verifier.questions import Questions


@torch.no_grad()
def solve(verifier: ProcessBeliefModel, questions: Questions, cancel: CancelToken | None = None) -> Tensor:
    """[B, T] int64 claims, each the best scored of the story's containers and NULL after those taken before.

    What the verifier knows without any generator; whoever has it and needs answers alone may need no search.
    """
    claims = torch.zeros(len(questions), questions.steps, dtype=torch.int64)
    rows, options = questions.possible.nonzero(as_tuple=True)  # [R] question and claim of each option
    for step in range(questions.steps):
        scores = torch.full(questions.possible.shape, -torch.inf)
        at_once = rows_at_once(step + 1)
        for row, option in zip(rows.split(at_once), options.split(at_once), strict=True):
            if cancel is not None:
                cancel.check()
            tried = torch.cat((claims[row, :step], option[:, None]), dim=1)
            _, slots = verifier.network.read(questions.features[row, : step + 2], tried)
            scores[row, option] = verifier.network.margins(slots[:, -1]).float()
        claims[:, step] = scores.argmax(-1)
    return claims
