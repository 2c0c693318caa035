"""The batching loop: requests of one model join and leave between steps, and decode in one forward pass.

Each turn reads a bounded piece of the prompts, so that a long one does not hold up answers, and then adds a token to
every request that is past its own. Requests whose caches can be put side by side share the pass; those with recurrent
state or early exit take one each. What a request answers depends on nothing but itself: its cache and its random
numbers are its own, and sharing a pass changes logits by float rounding alone. Where sparse attention gives logits that
are no numbers, a request reads everything again densely, and fails only where that gives none either.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Hashable, Sequence
from typing import ParamSpec

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from assay.errors import AssayError, Internal
from assay.models.language_model import FinishReason
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.generation.cache_facts import (
    densities,
    fallbacks,
    mean_density,
    reading,
    sparse_settings,
)
from assay_inference_optimizer.core.generation.forward import PREFILL_TOKENS, piece_tokens, read_tokens, step_together
from assay_inference_optimizer.core.generation.joint_cache import can_join
from assay_inference_optimizer.core.generation.request import Alternative, Context, Drafted, Ended, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import choose
from assay_inference_optimizer.core.no_numbers import is_non_finite, not_even_densely

MAX_ROWS = 64

P = ParamSpec("P")

log = logging.getLogger(__name__)


class BatchingLoop:
    """Answers requests of `model` from one thread, which is there only while there is something to do.

    ends: tokens that end an answer.
    """

    def __init__(self, model: PreTrainedModel, ends: frozenset[int]) -> None:
        self._model = model
        self._ends = ends
        self._layers = int(model.config.get_text_config(decoder=True).num_hidden_layers)
        self._joins = can_join(model.config)
        self._lock = threading.Lock()
        self._waiting: list[Request] = []
        self._running = False

    def submit(self, request: Request) -> None:
        """Takes a request in; its events come as they happen."""
        with self._lock:
            self._waiting.append(request)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="assay-generate", daemon=True).start()

    def _run(self) -> None:
        rows: list[Request] = []
        while True:
            with self._lock:
                for row in self._waiting:  # who has gone need not wait for a place to be told
                    self._guarded([row], row.check)
                self._waiting = list(_live(self._waiting))
                room = MAX_ROWS - len(rows)
                rows += self._waiting[:room]
                del self._waiting[:room]
                if not rows:
                    self._running = False
                    return
            with torch.inference_mode():
                self._turn(rows)
            rows = [row for row in rows if not row.ended]

    def _turn(self, rows: Sequence[Request]) -> None:
        """One step of everything."""
        for row in rows:
            self._guarded([row], row.check)
        room = PREFILL_TOKENS
        for row in _live(rows):
            before = row.context.read
            if row.drafts is not None and (room > 0 or not row.context.pending):
                self._guarded([row], self._draft, row)
            elif row.drafts is None and row.reading and room > 0:
                self._guarded([row], self._read, row)
            room -= max(0, row.context.read - before)  # less than before where it began again
        plain = [row for row in rows if row.drafts is None]
        groups: dict[Hashable, list[Request]] = {}
        for row in _live(plain):
            if row.context.pending and not row.reading:
                groups.setdefault(self._company(row), []).append(row)
        for group in groups.values():
            if len(group) > 1:
                self._guarded(group, self._step, group)
            else:
                self._guarded(group, self._step_alone, group[0])
        for row in _live(plain):
            if row.context.logits is not None:
                self._guarded([row], self._answer, row)

    def _company(self, row: Request) -> Hashable:
        """Requests for which this is equal share a pass."""
        return sparse_settings(row.context.cache) if self._joins else id(row)

    def _read(self, row: Request) -> None:
        """The next piece of a prompt. Pieces end with blocks, so that they choose what the whole prompt would."""
        context, sparse = row.context, sparse_settings(row.context.cache)
        piece = context.pending[: piece_tokens(context.read, sparse)]
        with reading(context.cache):
            logits = read_tokens(self._model, context.cache, piece, context.read)
        context.took(len(piece))
        if not context.pending:
            context.logits = finite(logits)

    def _step_alone(self, row: Request) -> None:
        context = row.context
        logits = read_tokens(self._model, context.cache, context.pending[:1], context.read)
        context.took(1)
        context.logits = finite(logits)

    def _step(self, rows: Sequence[Request]) -> None:
        contexts = [row.context for row in rows]
        logits = step_together(self._model, [c.cache for c in contexts], [c.pending[0] for c in contexts])
        for row, context, own in zip(rows, contexts, logits, strict=True):
            context.took(1)
            # One row's overflow is not its neighbours' failure.
            self._guarded([row], _take_logits, context, own)

    def _answer(self, row: Request) -> None:
        """The next token of a request whose logits are there, or its end."""
        context, sampling = row.context, row.sampling
        assert context.logits is not None
        if sampling is None:
            self._end(row, None)
            return
        logits, context.logits = context.logits, None
        nats = torch.log_softmax(logits, dim=-1)
        token = choose(logits, sampling, row.random)
        context.pending = [token]
        best = nats.topk(min(sampling.alternatives, len(nats)))
        alternatives = tuple(map(Alternative, best.indices.tolist(), best.values.tolist()))
        density = mean_density(context.cache)
        self._tell(row, token, nats[token].item(), self._layers, density=density, alternatives=alternatives)

    def _draft(self, row: Request) -> None:
        """The next tokens of a request that leaves the model early, or the next piece of its prompt."""
        assert row.drafts is not None
        found: Drafted | None = next(row.drafts, None)
        read = piece_tokens(row.context.read, sparse_settings(row.context.cache))
        row.context.took(min(read, len(row.context.pending)))
        if found is None:
            if not row.ended:
                self._end(row, FinishReason.LENGTH)
            return
        row.drafted += found.drafted
        row.accepted += found.accepted
        density = mean_density(row.context.cache)
        for token, nats, layers in zip(found.tokens, found.log_probabilities, found.layers, strict=True):
            if not row.ended:
                self._tell(row, token, nats, layers, density=density)

    def _tell(
        self,
        row: Request,
        token: int,
        nats: float,
        layers: int,
        *,
        density: float = 1.0,
        alternatives: tuple[Alternative, ...] = (),
    ) -> None:
        assert row.sampling is not None
        row.generated.append(token)
        ends = token in self._ends and not row.sampling.ignore_end
        text = "" if ends else row.text.add(token)
        row.tell(NewToken(token, nats, text, layers, density, alternatives))
        if ends:
            self._end(row, FinishReason.END)
        elif row.text.stopped:
            self._end(row, FinishReason.STOP)
        elif len(row.generated) == row.sampling.max_new_tokens:
            self._end(row, FinishReason.LENGTH)

    def _guarded(
        self, rows: Sequence[Request], work: Callable[P, object], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Does `work` on behalf of `rows`; where it fails they end with the error, and the loop goes on."""
        try:
            work(*arguments, **named)
        except AssayError as error:
            for row in rows:
                if not is_non_finite(error):
                    row.end(error)
                elif row.dense_retry:
                    row.end(not_even_densely())
                elif sparse_settings(row.context.cache) is None:
                    row.end(error)
                else:
                    self._begin_again_densely(row)
        except Exception:
            error_id = uuid.uuid4().hex[:12]
            log.exception("generation failed, error id %s", error_id)
            failed = Internal(
                f"an unexpected error happened; quote error id {error_id} when you report it",
                reason="UNEXPECTED",
                metadata={"error_id": error_id},
            )
            for row in rows:
                row.end(failed)

    def _begin_again_densely(self, row: Request) -> None:
        """Sparse attention gave no numbers: the rest of the answer is dense attention's, which reads all of it."""
        row.dense_retry = True
        if row.drafts is not None:  # which knew the answer so far; all layers go on with it, greedily
            row.context.pending += row.generated
            row.drafts = None
        row.context.begin_again(DynamicCache(config=self._model.config))

    def _end(self, row: Request, reason: FinishReason | None) -> None:
        rest = row.text.finish()
        if row.text.stopped:
            reason = FinishReason.STOP
        cache = row.context.cache
        row.end(
            Ended(
                reason,
                rest,
                row.prompt_tokens,
                len(row.generated),
                densities(cache),
                fallbacks(cache),
                row.drafted,
                row.accepted,
                row.dense_retry,
            )
        )


def _live(rows: Sequence[Request]) -> Sequence[Request]:
    return [row for row in rows if not row.ended]


def _take_logits(context: Context, logits: Tensor) -> None:
    context.logits = finite(logits)
