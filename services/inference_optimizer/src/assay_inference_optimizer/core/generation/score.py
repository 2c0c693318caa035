"""How likely given texts are, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import Score
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.cache_facts import reading
from assay_inference_optimizer.core.generation.forward import piece_tokens, read_all
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import SparseConfig

FLOAT_BYTES = 4


def score_texts(
    served: ServedModel,
    texts: Sequence[str],
    sparse: SparseConfig | None,
    budget: CacheBudget,
    *,
    cancel: CancelToken,
) -> list[Score]:
    """One score a text, each read on its own, so that a score depends on no other text. Fields are named texts[i].

    budget: where each text's cache and logits are reserved while it is read. Internal for logits that are no numbers.
    """
    return [_score(served, index, text, sparse, budget, cancel) for index, text in enumerate(texts)]


def _score(
    served: ServedModel, index: int, text: str, sparse: SparseConfig | None, budget: CacheBudget, cancel: CancelToken
) -> Score:
    encoded = served.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    prefix = [] if served.begin is None else [served.begin]
    ids = prefix + list(encoded.input_ids)
    if len(ids) == len(prefix):
        raise InvalidInput(f"texts[{index}]", "is empty; leave it out")
    served.check_length(len(ids), field=f"texts[{index}]")
    cache = served.new_cache(sparse)
    # Of a piece there are logits and their log-probabilities at once.
    logits_bytes = 2 * FLOAT_BYTES * served.vocabulary * min(len(ids), piece_tokens(0, sparse))
    known: list[float] = []
    with budget.held(served.bytes_of(len(ids), sparse) + logits_bytes, f"texts[{index}]"), torch.inference_mode():
        read = 0
        while read < len(ids):
            cancel.check()
            piece = ids[read : read + piece_tokens(read, sparse)]
            with reading(cache):
                logits = finite(read_all(served.model, cache, piece, read))
            read += len(piece)
            follow = torch.tensor(ids[read - len(piece) + 1 : read + 1])[:, None]
            known += torch.log_softmax(logits[: len(follow)], dim=-1).gather(1, follow)[:, 0].tolist()
    starts = list(accumulate((len(character.encode()) for character in text), initial=0))
    offsets = tuple((starts[first], starts[last]) for first, last in encoded.offset_mapping)
    return Score(tuple(encoded.input_ids), tuple(known if prefix else [None, *known]), offsets)
