"""How likely given texts are, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import Score
from assay_inference_optimizer.core.generation.forward import read_all
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import SparseConfig


def score_texts(
    served: ServedModel, texts: Sequence[str], sparse: SparseConfig | None, *, cancel: CancelToken
) -> list[Score]:
    """One score a text, each read on its own, so that a score depends on no other text. Fields are named texts[i]."""
    return [_score(served, index, text, sparse, cancel) for index, text in enumerate(texts)]


def _score(served: ServedModel, index: int, text: str, sparse: SparseConfig | None, cancel: CancelToken) -> Score:
    cancel.check()
    encoded = served.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    prefix = [] if served.begin is None else [served.begin]
    ids = prefix + list(encoded.input_ids)
    if len(ids) == len(prefix):
        raise InvalidInput(f"texts[{index}]", "is empty; leave it out")
    served.check_length(len(ids), field=f"texts[{index}]")
    logits = read_all(served.model, served.new_cache(sparse), ids)
    nats = torch.log_softmax(logits[:-1], dim=-1)
    known = nats.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    starts = list(accumulate((len(character.encode()) for character in text), initial=0))
    offsets = tuple((starts[first], starts[last]) for first, last in encoded.offset_mapping)
    return Score(tuple(encoded.input_ids), tuple(known if prefix else [None, *known]), offsets)
