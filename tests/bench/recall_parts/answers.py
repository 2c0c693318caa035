"""Which questions a model answers right when attention is sparse, read in a prompt or decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.zoo.recall_task import RecallQuestions
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.prefill import prefill

# Nobody cancels a benchmark but by stopping the process.
CANCEL = CancelToken()
CONTEXTS_AT_ONCE = 8
Mode = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Answers:
    """right: [questions] bool. density: attended over causal pairs, counted from the chosen blocks, mean over ALL
    layers: of the contexts, or in mode decode of the decoded tokens alone."""

    right: NDArray[np.bool_]
    density: float


def answers(
    model: PreTrainedModel, questions: RecallQuestions, per_context: int, sparse: SparseConfig, mode: Mode
) -> Answers:
    """Each context is read once; its questions then go on from copies of what was read.

    prefill: contexts are read up to their last whole block, and what ends with the question is read as the end of a
    prompt. decode: the question's last two tokens are decoding steps after everything else was read.
    """
    attach(model)
    tokens = questions.prompts.shape[1]
    size = sparse.block_size
    split = (tokens - questions.question_tokens) // size * size
    # A mark and a key, of a question that stands several times the last ones.
    end = tokens if mode == "prefill" else tokens - 2
    right: list[Tensor] = []
    densities: list[float] = []
    step = CONTEXTS_AT_ONCE * per_context
    with torch.inference_mode():
        for start in range(0, len(questions), step):
            prompts = questions.prompts[start : start + step]
            cache = SparseCache(model.config, sparse)
            prefill(model, prompts[::per_context, :split], cache, cancel=CANCEL)
            densities.append(cache.mean_density())
            cache.batch_repeat_interleave(per_context)
            logits = prefill(model, prompts[:, split:end], cache, cancel=CANCEL)
            if mode == "decode":
                cache.forget_density()
                for position in range(end, tokens):
                    step_ids = prompts[:, position : position + 1]
                    logits = model(input_ids=step_ids, past_key_values=cache, use_cache=True).logits
                densities[-1] = cache.mean_density()
            right.append(logits[:, -1].argmax(-1) == questions.answers[start : start + step])
    return Answers(torch.cat(right).numpy(), float(np.mean(densities)))
