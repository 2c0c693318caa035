"""How many questions of the recall task a model answers, over one hop and over two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from assay.cancel import CancelToken
from assay.zoo.recall_task import recall_questions
from assay.zoo.recipe import Recipe

# Half over one hop: a standard error near 0.016 each at worst. A context is read once for all of its questions.
QUESTIONS, PER_CONTEXT = 2000, 20
# Away from every seed that a step's sequences are drawn from.
QUESTIONS_SEED = 2**62
_CONTEXTS_AT_ONCE = 4


@dataclass(frozen=True)
class RecallHeldOut:
    """accuracy_*: share of questions whose likeliest next token is the answer. chance: of naming any value.

    pairs, tokens: of every prompt.
    """

    questions: int
    pairs: int
    tokens: int
    accuracy_one_hop: float
    accuracy_two_hops: float
    chance: float


def measure_recall(recipe: Recipe, model: Any, *, cancel: CancelToken) -> RecallHeldOut:
    """On QUESTIONS prompts as long as the recipe's sequences, with as many pairs as its last stage, always the same."""
    last = recipe.stages[-1]
    asked = recall_questions(
        QUESTIONS,
        last.pairs,
        recipe.sequence_length,
        QUESTIONS_SEED,
        per_context=PER_CONTEXT,
        restated=last.restated,
    )
    context = recipe.sequence_length - asked.question_tokens
    right = []
    with torch.inference_mode():
        for start in range(0, QUESTIONS, PER_CONTEXT * _CONTEXTS_AT_ONCE):
            cancel.check()
            chunk = slice(start, start + PER_CONTEXT * _CONTEXTS_AT_ONCE)
            prompts, cache = asked.prompts[chunk], DynamicCache(config=model.config)
            model(input_ids=prompts[::PER_CONTEXT, :context], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(PER_CONTEXT)
            logits = model(input_ids=prompts[:, context:], past_key_values=cache, use_cache=True).logits
            right.append(logits[:, -1].argmax(-1) == asked.answers[chunk])
    one, two = (torch.cat(right)[asked.hops == hops].double().mean().item() for hops in (1, 2))
    return RecallHeldOut(QUESTIONS, last.pairs, recipe.sequence_length, one, two, 1 / last.pairs)
