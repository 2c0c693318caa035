"""The steps that generate: they put requests into a model's batching loop and pass on what comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from transformers import Cache

from assay.engine.step import StepContext
from assay.errors import Aborted, FailedPrecondition, InvalidInput, ResourceExhausted, Unimplemented
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.risk_controlled import generate as leave_early
from assay_inference_optimizer.core.early_exit.speculative import speculate
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.cache_facts import densities, fallbacks, held_bytes
from assay_inference_optimizer.core.generation.request import Context, Drafted, Ended, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.score import Scorer
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.generation.sparse_bytes import ROLLBACK_TOKENS
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
DRAFT_TOKENS = 8


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
    drafting = _drafting(served, request.early_exit, sampling, context)
    rollback = None
    if drafting is not None and sparse is not None:
        if request.early_exit.mode != api.EARLY_EXIT_MODE_SPECULATIVE:
            raise Unimplemented(
                "early_exit.mode: leaving early by a calibration is not served with sparse attention, which the layers "
                "that are left out would have to follow later; speculate, or leave one of them out"
            )
        # What is verified may be taken back, as far as the beginning of the answer.
        rollback = max(ROLLBACK_TOKENS, sparse.block_size, sampling.max_new_tokens)
    cache = served.new_cache(sparse, rollback_tokens=rollback)
    size = served.bytes_of(len(ids) + sampling.max_new_tokens, sparse, rollback)
    SESSIONS.budget.reserve(size, "this request")
    drafts = drafting(torch.tensor([ids], device=served.model.device), cache) if drafting else None
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


Drafting = Callable[[Tensor, Cache], Iterator[Drafted]]


def _drafting(
    served: ServedModel, early_exit: api.EarlyExitConfig, sampling: Sampling, context: StepContext
) -> Drafting | None:
    """How the request leaves the model early; None where it takes every layer. Raises what is wrong with the asking."""
    mode = early_exit.mode
    if mode in (api.EARLY_EXIT_MODE_UNSPECIFIED, api.EARLY_EXIT_MODE_NONE):
        return None
    if mode not in api.EarlyExitMode.values():
        raise InvalidInput("early_exit.mode", f"{mode} is unknown; upgrade the service, or choose another")
    if sampling.temperature:
        raise InvalidInput("sampling.temperature", "must be 0 with early_exit, which decodes greedily")
    if sampling.alternatives:
        raise InvalidInput("sampling.alternatives", "are not given with early_exit; leave them out")
    ends = () if sampling.ignore_end else served.ends
    if mode == api.EARLY_EXIT_MODE_RISK_CONTROLLED:
        thresholds = _thresholds(served, early_exit, context)
        return lambda ids, cache: _leaving(served, thresholds, ids, cache, sampling, ends, context)
    layer = _draft_layer(served, early_exit)
    draft_tokens = early_exit.draft_tokens or DRAFT_TOKENS
    return lambda ids, cache: _speculating(served, layer, draft_tokens, ids, cache, sampling, ends, context)


def _draft_layer(served: ServedModel, early_exit: api.EarlyExitConfig) -> int:
    layers = tuple(early_exit.exit_layers)
    if len(layers) != 1:
        raise InvalidInput("early_exit.exit_layers", f"are {len(layers)}; give the one layer to draft with")
    if not 1 <= layers[0] < served.layers:
        raise InvalidInput(
            "early_exit.exit_layers[0]", f"is {layers[0]}; this model's exits are 1 to {served.layers - 1}"
        )
    if early_exit.draft_tokens < 0:
        raise InvalidInput(
            "early_exit.draft_tokens", f"is {early_exit.draft_tokens}; give 0 for {DRAFT_TOKENS}, or more"
        )
    return layers[0]


def _thresholds(served: ServedModel, early_exit: api.EarlyExitConfig, context: StepContext) -> Thresholds:
    if not early_exit.calibration:
        raise FailedPrecondition(
            "early_exit.calibration: is empty; leaving early needs thresholds, which CalibrateEarlyExit gives",
            reason="NOT_CALIBRATED",
        )
    found = context.artifacts.get(early_exit.calibration)
    if found.manifest.kind != kinds.THRESHOLDS:
        raise InvalidInput(
            "early_exit.calibration",
            f"is an artifact of kind {found.manifest.kind}; give one of kind {kinds.THRESHOLDS}",
        )
    thresholds = Thresholds.from_json(context.artifacts.read(found.digest, "thresholds.json"))
    thresholds.check_model(served.digest)
    return thresholds


def _speculating(
    served: ServedModel,
    layer: int,
    draft_tokens: int,
    ids: Tensor,
    cache: Cache,
    sampling: Sampling,
    ends: Collection[int],
    context: StepContext,
) -> Iterator[Drafted]:
    rounds = speculate(
        served.model,
        ids,
        layer,
        sampling.max_new_tokens,
        draft_tokens=draft_tokens,
        eos=ends,
        cancel=context.cancel,
        cache=cache,
    )
    for settled in rounds:
        # What the lower layers proposed and all layers confirmed was known at the exit already.
        by = [layer] * settled.accepted + [served.layers] * (len(settled.tokens) - settled.accepted)
        yield Drafted(settled.tokens, settled.log_probabilities, by, settled.drafted, settled.accepted)


def _leaving(
    served: ServedModel,
    thresholds: Thresholds,
    ids: Tensor,
    cache: Cache,
    sampling: Sampling,
    ends: Collection[int],
    context: StepContext,
) -> Iterator[Drafted]:
    tokens = leave_early(
        served.model, ids, thresholds, sampling.max_new_tokens, eos=ends, cancel=context.cancel, cache=cache
    )
    for said in tokens:
        # None: a piece of the prompt was read.
        yield Drafted([said.token], [said.log_probability], [said.exit_layer]) if said else Drafted((), (), ())
