"""How likely given texts are, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import Score
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.cache_facts import reading
from assay_inference_optimizer.core.generation.forward import piece_tokens, read_all
from assay_inference_optimizer.core.generation.request import Alternative
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import SparseConfig

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Scored:
    """alternatives: likeliest tokens in each token's place; none where its log-probability is None."""

    score: Score
    alternatives: tuple[tuple[Alternative, ...], ...]


def score_texts(
    served: ServedModel,
    texts: Sequence[str],
    sparse: SparseConfig | None,
    budget: CacheBudget,
    *,
    alternatives: int = 0,
    cancel: CancelToken,
) -> list[Scored]:
    """One score a text, each read on its own, so that a score depends on no other text. Fields are named texts[i].

    budget: where each text's cache and logits are reserved while it is read. Internal for logits that are no numbers.
    """
    return [_score(served, index, text, sparse, budget, alternatives, cancel) for index, text in enumerate(texts)]


def _score(
    served: ServedModel,
    index: int,
    text: str,
    sparse: SparseConfig | None,
    budget: CacheBudget,
    alternatives: int,
    cancel: CancelToken,
) -> Scored:
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
    others: list[tuple[Alternative, ...]] = []
    with budget.held(served.bytes_of(len(ids), sparse) + logits_bytes, f"texts[{index}]"), torch.inference_mode():
        read = 0
        while read < len(ids):
            cancel.check()
            piece = ids[read : read + piece_tokens(read, sparse)]
            with reading(cache):
                logits = finite(read_all(served.model, cache, piece, read))
            read += len(piece)
            follow = torch.tensor(ids[read - len(piece) + 1 : read + 1], dtype=torch.int64)[:, None]
            nats = torch.log_softmax(logits[: len(follow)], dim=-1)
            known += nats.gather(1, follow)[:, 0].tolist()
            best = nats.topk(min(alternatives, served.vocabulary))
            rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            others += [tuple(map(Alternative, *row)) for row in rows]
    starts = list(accumulate((len(character.encode()) for character in text), initial=0))
    offsets = tuple((starts[first], starts[last]) for first, last in encoded.offset_mapping)
    score = Score(tuple(encoded.input_ids), tuple(known if prefix else [None, *known]), offsets)
    return Scored(score, tuple(others if prefix else [(), *others]))
