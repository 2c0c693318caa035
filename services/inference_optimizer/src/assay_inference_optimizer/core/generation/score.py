"""How likely given texts are, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from assay.cancel import CancelToken
from assay.errors import Internal, InvalidInput
from assay.models.language_model import Score
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.generation.answer_text import spelled
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.cache_facts import reading
from assay_inference_optimizer.core.generation.forward import piece_tokens, read_all
from assay_inference_optimizer.core.generation.request import Alternative
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.no_numbers import is_non_finite, not_even_densely
from assay_inference_optimizer.core.sparse.config import SparseConfig

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Scored:
    """alternatives: likeliest tokens in each token's place; none where its log-probability is None. text: what was
    given as tokens, "" where it was given as text. dense_retry: whether sparse attention gave no numbers, and what is
    told is dense attention's."""

    score: Score
    alternatives: tuple[tuple[Alternative, ...], ...]
    text: str = ""
    dense_retry: bool = False


class Scorer:
    """Scores texts one by one, so that a score depends on no other text.

    sparse: None for dense attention, which also reads what sparse attention gives no numbers for. budget: where each
    text's cache and logits are reserved while it is read. Raises Internal where dense attention gives none either.
    """

    def __init__(
        self,
        served: ServedModel,
        sparse: SparseConfig | None,
        budget: CacheBudget,
        *,
        alternatives: int = 0,
        cancel: CancelToken,
    ) -> None:
        self._served = served
        self._sparse = sparse
        self._budget = budget
        self._alternatives = alternatives
        self._cancel = cancel

    def text(self, text: str, field: str) -> Scored:
        """A text, behind the begin mark where the model has one. field: its name in what is raised."""
        served = self._served
        encoded = served.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = tuple(encoded.input_ids)
        if not tokens:
            raise InvalidInput(field, "is empty; leave it out")
        prefix = [] if served.begin is None else [served.begin]
        read = self._read([*prefix, *tokens], field)
        starts = list(accumulate((len(character.encode()) for character in text), initial=0))
        offsets = tuple((starts[first], starts[last]) for first, last in encoded.offset_mapping)
        if prefix:
            return Scored(Score(tokens, tuple(read.nats), offsets), tuple(read.alternatives), dense_retry=read.retry)
        return _without_first(tokens, read, offsets)

    def tokens(self, tokens: Sequence[int], field: str) -> Scored:
        """Tokens as they are: nothing precedes the first, which has no log-probability."""
        self._served.check_tokens(tokens, f"{field}.ids")
        read = self._read(list(tokens), field)
        text, offsets = spelled(self._served.decode, tokens)
        return _without_first(tuple(tokens), read, offsets, text)

    def _read(self, ids: list[int], field: str) -> _Read:
        served, sparse = self._served, self._sparse
        served.check_length(len(ids), field=field)
        # Of a piece there are logits and their log-probabilities at once.
        logits_bytes = 2 * FLOAT_BYTES * served.vocabulary * min(len(ids), piece_tokens(0, sparse))
        with self._budget.held(served.bytes_of(len(ids), sparse) + logits_bytes, field), torch.inference_mode():
            try:
                return self._pass(ids, sparse)
            except Internal as error:
                if sparse is None or not is_non_finite(error):
                    raise
            try:
                return self._pass(ids, None, retry=True)
            except Internal as error:
                raise (not_even_densely() if is_non_finite(error) else error) from None

    def _pass(self, ids: list[int], sparse: SparseConfig | None, *, retry: bool = False) -> _Read:
        found, cache, read = _Read([], [], retry), self._served.new_cache(sparse), 0
        while read < len(ids):
            self._cancel.check()
            piece = ids[read : read + piece_tokens(read, sparse)]
            with reading(cache):
                logits = finite(read_all(self._served.model, cache, piece, read))
            read += len(piece)
            follow = torch.tensor(ids[read - len(piece) + 1 : read + 1], dtype=torch.int64)[:, None]
            nats = torch.log_softmax(logits[: len(follow)], dim=-1)
            found.nats.extend(nats.gather(1, follow)[:, 0].tolist())
            best = nats.topk(min(self._alternatives, self._served.vocabulary))
            rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found.alternatives.extend(tuple(map(Alternative, *row)) for row in rows)
        return found


@dataclass(frozen=True)
class _Read:
    """Of every token but the first that was read."""

    nats: list[float]
    alternatives: list[tuple[Alternative, ...]]
    retry: bool


def _without_first(
    tokens: tuple[int, ...], read: _Read, offsets: tuple[tuple[int, int], ...], text: str = ""
) -> Scored:
    return Scored(Score(tokens, (None, *read.nats), offsets), ((), *read.alternatives), text, read.retry)
