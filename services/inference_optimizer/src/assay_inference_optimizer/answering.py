"""The steps that generate: they put requests into a model's batching loop and pass on what comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from assay.engine.step import StepContext
from assay.errors import Aborted, FailedPrecondition, InvalidInput, ResourceExhausted
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.cache_facts import densities, fallbacks, held_bytes
from assay_inference_optimizer.core.generation.request import Context, Ended, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.score import Scorer
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.early_answers import early_exit_of
from assay_inference_optimizer.serving import SESSIONS, SWEEPER, use_model
from assay_inference_optimizer.session_caches import Kept
from assay_inference_optimizer.session_records import (
    SessionRecord,
    forget_session,
    new_session,
    read_session,
    write_session,
)
from assay_inference_optimizer.translate import (
    FINISH_REASONS,
    layers_to_proto,
    prompt_ids,
    sampling_of,
    score_to_proto,
    sparse_from_json,
    sparse_of,
    sparse_to_json,
    sparse_to_proto,
    token_to_proto,
    usage_to_proto,
)

MESSAGE_TOKENS = 64
MESSAGE_INTERVAL_S = 0.03  # the first token goes at once; after it, several a message


def generate(request: api.GenerateRequest, context: StepContext) -> Iterator[api.GenerateResponse]:
    with use_model(context.artifacts, request.model) as served:
        asked = _asked(served, request, context)
        served.loop.submit(asked)
        for generated in _messages(served, asked):
            yield api.GenerateResponse(generated=generated)


def _asked(served: ServedModel, request: api.GenerateRequest, context: StepContext) -> Request:
    """With its bytes reserved, and nothing beside it that holds its cache. Raises what is wrong with the asking."""
    sampling = sampling_of(request.sampling)
    ids = prompt_ids(served, request.prompt)
    sampling = _fitted(served, sampling, len(ids))
    served.check_length(len(ids), sampling.max_new_tokens)
    sparse = sparse_of(request.sparse) if request.HasField("sparse") else None
    early = early_exit_of(served, request.early_exit, sparse, sampling, context)
    rollback = None
    if early is not None:
        sparse, rollback = early.sparse, early.rollback_tokens
    cache = served.new_cache(sparse, rollback_tokens=rollback)
    size = served.bytes_of(len(ids) + sampling.max_new_tokens, sparse, rollback)
    SESSIONS.budget.reserve(size, "this request")
    drafts = early.start(torch.tensor([ids], device=served.model.device), cache) if early else None
    return Request(
        Context(cache, pending=list(ids)),
        sampling,
        context.cancel,
        AnswerText(served.decode, sampling.stop),
        drafts,
        on_end=lambda: SESSIONS.budget.release(size),
    )


def score(request: api.ScoreRequest, context: StepContext) -> api.ScoreResponse:
    with use_model(context.artifacts, request.model) as served:
        sparse = sparse_of(request.sparse) if request.HasField("sparse") else None
        scorer = Scorer(served, sparse, SESSIONS.budget, alternatives=request.alternatives, cancel=context.cancel)
        scores = [scorer.text(text, f"texts[{index}]") for index, text in enumerate(request.texts)]
        scores += [scorer.tokens(tokens.ids, f"tokens[{index}]") for index, tokens in enumerate(request.tokens)]
        return api.ScoreResponse(scores=[score_to_proto(served, one) for one in scores], model=served.digest)


def prefill(step: own.PrefillStep, context: StepContext) -> api.PrefillResponse:
    request, objects = step.request, context.artifacts.objects
    if request.session:
        record = read_session(objects, request.session, step.caller, SWEEPER.ttl_s)
        if request.model and context.artifacts.resolve(request.model) != record.model:
            raise FailedPrecondition("model: is not the session's; leave it out, or open a new session")
    else:
        sparse = sparse_to_json(sparse_of(request.sparse)) if request.HasField("sparse") else None
        record = new_session(step.caller, context.artifacts.get(request.model).digest, sparse)
        SWEEPER.set_off(objects)
    _check_sparse(record, request)
    with use_model(context.artifacts, record.model) as served:
        more = _more_tokens(served, request, record)
        total = len(record.tokens) + len(more)
        settings = sparse_from_json(record.sparse)
        served.check_length(total, 1)
        with _lent(record) as lent:
            rebuilt = lent.kept is None and bool(record.tokens)
            fresh = Context(served.new_cache(settings), pending=list(record.tokens))  # checks the settings, too
            lent.reserve(served.bytes_of(total, settings), "the session")
            if lent.kept is None:
                lent.kept = Kept(fresh, 0)
            lent.kept.context.pending += more
            retried = False
            if lent.kept.context.pending:
                lent.kept.context.logits = None
                asked = Request(lent.kept.context, None, context.cancel, AnswerText(served.decode))
                served.loop.submit(asked)
                for _ in asked.events():
                    pass
                retried = asked.dense_retry
            write_session(objects, record.with_tokens(more))
            cache = lent.kept.context.cache
            answer = api.PrefillResponse(
                session=record.session,
                tokens=total,
                cache_bytes=held_bytes(cache),
                layers=layers_to_proto(densities(cache), fallbacks(cache)),
                rebuilt=rebuilt,
                dense_retry=retried,
            )
            if settings is not None:
                answer.sparse.CopyFrom(sparse_to_proto(settings))
            lent.keep()
            return answer


def decode(step: own.DecodeStep, context: StepContext) -> Iterator[api.DecodeResponse]:
    request, objects = step.request, context.artifacts.objects
    sampling = sampling_of(request.sampling)
    record = read_session(objects, request.session, step.caller, SWEEPER.ttl_s)
    _check_sparse(record, request)
    with use_model(context.artifacts, record.model) as served:
        sampling = _fitted(served, sampling, len(record.tokens))
        served.check_length(len(record.tokens), sampling.max_new_tokens)
        with _lent(record) as lent:
            if lent.kept is None:
                raise Aborted(
                    "session: its cache is lost; prefill again: Prefill with its id and no prompt rebuilds it",
                    reason="CACHE_LOST",
                )
            settings = sparse_from_json(record.sparse)
            lent.reserve(served.bytes_of(len(record.tokens) + sampling.max_new_tokens, settings), "this call")
            asked = Request(lent.kept.context, sampling, context.cancel, AnswerText(served.decode, sampling.stop))
            served.loop.submit(asked)
            for generated in _messages(served, asked):
                if generated.finish_reason:  # stored before the caller hears that it is done
                    write_session(objects, record.with_tokens(asked.generated))
                    lent.shrink(served.bytes_of(lent.kept.context.tokens, settings))
                    lent.keep()
                yield api.DecodeResponse(generated=generated)


def close_session(step: own.CloseSessionStep, context: StepContext) -> api.CloseSessionResponse:
    record = read_session(context.artifacts.objects, step.session, step.caller, SWEEPER.ttl_s)
    kept = SESSIONS.take(record.session, len(record.tokens))
    SESSIONS.drop(record.session, kept.reserved if kept else 0)
    forget_session(context.artifacts.objects, record.session)
    return api.CloseSessionResponse()


class _Lent:
    """A session's cache during one call. What is not kept is freed at its end, whatever that is."""

    def __init__(self, session: str, kept: Kept | None) -> None:
        self.kept = kept
        self._session = session
        self._reserved = kept.reserved if kept else 0
        self._kept_on = False

    def reserve(self, size: int, what: str) -> None:
        """Makes the call hold that many bytes of the budget. Where they are refused, the cache stays as it was."""
        if size <= self._reserved:
            return
        try:
            SESSIONS.budget.reserve(size - self._reserved, what)
        except ResourceExhausted:
            if self.kept is not None:
                self.keep()
            raise
        self._reserved = size

    def shrink(self, size: int) -> None:
        SESSIONS.budget.release(self._reserved - size)
        self._reserved = size

    def keep(self) -> None:
        assert self.kept is not None
        self._kept_on = True
        SESSIONS.put_back(self._session, Kept(self.kept.context, self._reserved))

    def close(self) -> None:
        if not self._kept_on:
            SESSIONS.drop(self._session, self._reserved)


@contextmanager
def _lent(record: SessionRecord) -> Iterator[_Lent]:
    lent = _Lent(record.session, SESSIONS.take(record.session, len(record.tokens)))
    try:
        yield lent
    finally:
        lent.close()


def _fitted(served: ServedModel, sampling: Sampling, tokens: int) -> Sampling:
    if not sampling.fit_context:
        return sampling
    return replace(sampling, max_new_tokens=served.fitting(tokens, sampling.max_new_tokens))


def _check_sparse(record: SessionRecord, request: api.PrefillRequest | api.DecodeRequest) -> None:
    if request.HasField("sparse") and sparse_to_json(sparse_of(request.sparse)) != record.sparse:
        raise FailedPrecondition(
            "sparse: is not what the session was opened with, and its cache holds what that chose; leave it out, or "
            "open a new session",
            reason="OTHER_SPARSE_CONFIG",
        )


def _more_tokens(served: ServedModel, request: api.PrefillRequest, record: SessionRecord) -> list[int]:
    if not request.HasField("prompt"):
        if not record.tokens:
            raise InvalidInput("prompt", "is empty; give text, tokens or a conversation")
        return []
    return prompt_ids(served, request.prompt, goes_on=bool(record.tokens))


def _messages(served: ServedModel, asked: Request) -> Iterator[api.Generated]:
    """Several tokens a message; the last one says why it ended."""
    message, sent = api.Generated(), -MESSAGE_INTERVAL_S
    for event in asked.events():
        if isinstance(event, Ended):
            message.text += event.text
            assert event.finish_reason is not None
            message.finish_reason = FINISH_REASONS[event.finish_reason]
            message.usage.CopyFrom(usage_to_proto(served, event))
            yield message
            return
        assert isinstance(event, NewToken)
        message.text += event.text
        message.tokens.append(token_to_proto(served, event))
        now = time.monotonic()
        if now - sent >= MESSAGE_INTERVAL_S or len(message.tokens) >= MESSAGE_TOKENS:
            yield message
            message, sent = api.Generated(), now
