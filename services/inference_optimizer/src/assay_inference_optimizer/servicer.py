"""InferenceOptimizerService: validate, run the step or start the job, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from assay.engine.engine import StepProgress
from assay.engine.step import ReplyT, RequestT, Step
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay.server.call import current_call
from assay.server.service import Front
from assay_inference_optimizer import jobs, kinds, steps
from assay_inference_optimizer.dense_retries import count_answered, counting_failures
from assay_inference_optimizer.requests import (
    check_benchmark,
    check_generate,
    check_score,
    check_selections,
    check_text,
    loss_increase_of,
    risk_of,
)
from assay_inference_optimizer.session_records import read_session


class InferenceOptimizerServicer(inference_optimizer_pb2_grpc.InferenceOptimizerServiceServicer):
    """What references name is looked up before anything starts, so that a wrong one fails the call itself."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def Generate(  # noqa: N802
        self, request: api.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.GenerateResponse]:
        check_generate(request)
        asked = api.GenerateRequest()
        asked.CopyFrom(request)
        asked.model = await self._front.expect(request.model, kinds.MODEL, "model")
        async with aclosing(self._stream(steps.GENERATE, asked, asked.model)) as replies:
            async for reply in replies:
                yield reply

    async def Score(  # noqa: N802
        self, request: api.ScoreRequest, context: grpc.aio.ServicerContext
    ) -> api.ScoreResponse:
        check_score(request)
        asked = api.ScoreRequest()
        asked.CopyFrom(request)
        asked.model = await self._front.expect(request.model, kinds.MODEL, "model")
        return await self._run(steps.SCORE, asked, asked.model)

    async def Prefill(  # noqa: N802
        self, request: api.PrefillRequest, context: grpc.aio.ServicerContext
    ) -> api.PrefillResponse:
        asked = api.PrefillRequest()
        asked.CopyFrom(request)
        if request.model or not request.session:
            asked.model = await self._front.expect(request.model, kinds.MODEL, "model")
        step = own.PrefillStep(request=asked, caller=current_call().caller)
        return await self._run(steps.PREFILL, step, asked.model or await self._model_of(request.session))

    async def Decode(  # noqa: N802
        self, request: api.DecodeRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.DecodeResponse]:
        step = own.DecodeStep(request=request, caller=current_call().caller)
        async with aclosing(self._stream(steps.DECODE, step, await self._model_of(request.session))) as replies:
            async for reply in replies:
                yield reply

    async def CloseSession(  # noqa: N802
        self, request: api.CloseSessionRequest, context: grpc.aio.ServicerContext
    ) -> api.CloseSessionResponse:
        step = own.CloseSessionStep(session=request.session, caller=current_call().caller)
        return await self._run(steps.CLOSE_SESSION, step, await self._model_of(request.session))

    async def PlanSparsity(  # noqa: N802
        self, request: api.PlanSparsityRequest, context: grpc.aio.ServicerContext
    ) -> api.PlanSparsityResponse:
        loss_increase_of(request)
        await self._expect_subject(request)
        return api.PlanSparsityResponse(operation=await self._front.start(jobs.PLAN_SPARSITY, request))

    async def CompareSelection(  # noqa: N802
        self, request: api.CompareSelectionRequest, context: grpc.aio.ServicerContext
    ) -> api.CompareSelectionResponse:
        check_selections(request)
        await self._expect_subject(request)
        return api.CompareSelectionResponse(operation=await self._front.start(jobs.COMPARE_SELECTION, request))

    async def ProfileEarlyExit(  # noqa: N802
        self, request: api.ProfileEarlyExitRequest, context: grpc.aio.ServicerContext
    ) -> api.ProfileEarlyExitResponse:
        await self._expect_subject(request)
        return api.ProfileEarlyExitResponse(operation=await self._front.start(jobs.PROFILE_EARLY_EXIT, request))

    async def CalibrateEarlyExit(  # noqa: N802
        self, request: api.CalibrateEarlyExitRequest, context: grpc.aio.ServicerContext
    ) -> api.CalibrateEarlyExitResponse:
        risk_of(request)
        await self._expect_subject(request)
        return api.CalibrateEarlyExitResponse(operation=await self._front.start(jobs.CALIBRATE_EARLY_EXIT, request))

    async def BenchmarkAttention(  # noqa: N802
        self, request: api.BenchmarkAttentionRequest, context: grpc.aio.ServicerContext
    ) -> api.BenchmarkAttentionResponse:
        check_benchmark(request)
        return api.BenchmarkAttentionResponse(operation=await self._front.start(jobs.BENCHMARK_ATTENTION, request))

    async def InspectSelection(  # noqa: N802
        self, request: api.InspectSelectionRequest, context: grpc.aio.ServicerContext
    ) -> api.InspectSelectionResponse:
        await self._expect_subject(request)
        return api.InspectSelectionResponse(operation=await self._front.start(jobs.INSPECT_SELECTION, request))

    async def ListModels(  # noqa: N802
        self, request: api.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListModelsResponse:
        return await self._run(steps.LIST_MODELS, request)

    async def LoadModel(  # noqa: N802
        self, request: api.LoadModelRequest, context: grpc.aio.ServicerContext
    ) -> api.LoadModelResponse:
        digest = await self._front.expect(request.model, kinds.MODEL, "model")
        return await self._run(steps.LOAD_MODEL, api.LoadModelRequest(model=digest), digest)

    async def UnloadModel(  # noqa: N802
        self, request: api.UnloadModelRequest, context: grpc.aio.ServicerContext
    ) -> api.UnloadModelResponse:
        digest = await self._front.expect(request.model, kinds.MODEL, "model")
        return await self._run(steps.UNLOAD_MODEL, api.UnloadModelRequest(model=digest), digest)

    async def _run(self, step: Step[RequestT, ReplyT], request: RequestT, model_id: str = "") -> ReplyT:
        with counting_failures():
            reply = await self._front.engine.run(step, request, current_call().step_call(model_id=model_id))
        count_answered(reply)
        return reply

    async def _stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, model_id: str
    ) -> AsyncGenerator[ReplyT, None]:
        call = current_call().step_call(model_id=model_id)
        with counting_failures():
            async with aclosing(self._front.engine.stream(step, request, call)) as events:
                async for event in events:
                    if not isinstance(event, StepProgress):
                        count_answered(event)
                        yield event

    async def _model_of(self, session: str) -> str:
        """The model of the caller's session: calls that continue it go where that model is, and so its cache."""
        objects, caller = self._front.artifacts.objects, current_call().caller
        record = await asyncio.to_thread(read_session, objects, session, caller)
        return record.model

    async def _expect_subject(self, request: Any) -> None:
        """The model and the text that a long method is about."""
        check_text(request.text)
        await self._front.expect(request.model, kinds.MODEL, "model")
        if request.text.text:
            await self._front.expect(request.text.text, kinds.TEXT, "text.text")


def add_to_server(server: grpc.aio.Server, front: Front) -> None:
    inference_optimizer_pb2_grpc.add_InferenceOptimizerServiceServicer_to_server(
        InferenceOptimizerServicer(front), server
    )
