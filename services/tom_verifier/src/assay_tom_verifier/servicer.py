"""TomVerifierService: validate, run the step or start the job, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import grpc.aio

from assay.artifacts.manifest import Artifact
from assay.config import endpoint_of
from assay.engine.engine import StepProgress
from assay.engine.step import ReplyT, RequestT, Step
from assay.errors import InvalidInput, Unavailable
from assay.server.call import current_call
from assay.server.service import Front, check_reference
from assay.tom_verifier.v1 import (
    epistemic_pb2,
    sampling_pb2,
    sensitivity_pb2,
    stories_pb2,
    tom_verifier_pb2_grpc,
    traces_pb2,
    verifier_pb2,
)
from assay_tom_verifier import jobs, kinds, requests, steps

VERIFIERS = (kinds.VERIFIER, kinds.MODEL)


class TomVerifierServicer(tom_verifier_pb2_grpc.TomVerifierServiceServicer):
    """What references name is looked up before anything starts, so that a wrong one fails the call itself."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._met: set[tuple[str, str]] = set()  # what digests were seen to be fit for

    async def ParseStory(  # noqa: N802
        self, request: stories_pb2.ParseStoryRequest, context: grpc.aio.ServicerContext
    ) -> stories_pb2.ParseStoryResponse:
        requests.check_story(request.story)
        return await self._run(steps.PARSE, request)

    async def Simulate(  # noqa: N802
        self, request: stories_pb2.SimulateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[stories_pb2.SimulateResponse]:
        requests.check_simulate(request)
        async with aclosing(self._stream(steps.SIMULATE, request)) as replies:
            async for reply in replies:
                yield reply

    async def AnswerQuestion(  # noqa: N802
        self, request: stories_pb2.AnswerQuestionRequest, context: grpc.aio.ServicerContext
    ) -> stories_pb2.AnswerQuestionResponse:
        requests.check_answer(request)
        return await self._run(steps.ANSWER, request)

    async def DrawStory(  # noqa: N802
        self, request: stories_pb2.DrawStoryRequest, context: grpc.aio.ServicerContext
    ) -> stories_pb2.DrawStoryResponse:
        requests.check_draw(request)
        return await self._run(steps.DRAW, request)

    async def GenerateStories(  # noqa: N802
        self, request: stories_pb2.GenerateStoriesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[stories_pb2.GenerateStoriesResponse]:
        requests.check_generate(request)
        async with aclosing(self._stream(steps.GENERATE, request)) as replies:
            async for reply in replies:
                yield reply

    async def CheckTrace(  # noqa: N802
        self, request: traces_pb2.CheckTraceRequest, context: grpc.aio.ServicerContext
    ) -> traces_pb2.CheckTraceResponse:
        requests.check_check_trace(request)
        return await self._run(steps.CHECK_TRACE, request)

    async def Evaluate(  # noqa: N802
        self, request: traces_pb2.EvaluateRequest, context: grpc.aio.ServicerContext
    ) -> traces_pb2.EvaluateResponse:
        requests.check_rows(request)
        return await self._run(steps.EVALUATE, request)

    async def Audit(  # noqa: N802
        self, request: traces_pb2.AuditRequest, context: grpc.aio.ServicerContext
    ) -> traces_pb2.AuditResponse:
        requests.check_rows(request)
        return await self._run(steps.AUDIT, request)

    async def SampleTraces(  # noqa: N802
        self, request: sampling_pb2.SampleTracesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[sampling_pb2.SampleTracesResponse]:
        requests.check_sample(request)
        asked, step = sampling_pb2.SampleTracesRequest(), steps.SAMPLE_ELSEWHERE
        asked.CopyFrom(request)
        if request.generator.WhichOneof("generator") == "artifact":
            found = await self._expect_any(
                request.generator.artifact, (kinds.GENERATOR, kinds.MODEL), "generator.artifact"
            )
            asked.generator.artifact = found.digest
            if found.manifest.kind == kinds.GENERATOR or not endpoint_of(steps.INFERENCE_OPTIMIZER):
                step = steps.SAMPLE
        async with aclosing(self._stream(step, asked)) as replies:
            async for reply in replies:
                yield reply

    async def ScoreTraces(  # noqa: N802
        self, request: verifier_pb2.ScoreTracesRequest, context: grpc.aio.ServicerContext
    ) -> verifier_pb2.ScoreTracesResponse:
        requests.check_candidates(request.candidates)
        asked = verifier_pb2.ScoreTracesRequest(candidates=request.candidates)
        asked.verifier = await self._expect_network(request.verifier, VERIFIERS, "verifier")
        return await self._run(steps.SCORE, asked, asked.verifier)

    async def ScoreTraceStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[verifier_pb2.ScoreTraceStreamRequest],
        context: grpc.aio.ServicerContext,
    ) -> AsyncIterator[verifier_pb2.ScoreTraceStreamResponse]:
        verifier, candidates = "", verifier_pb2.CandidateSet()
        async for request in request_iterator:
            if not verifier:
                requests.check_candidates(request.candidates)
                verifier = await self._expect_network(request.verifier, VERIFIERS, "verifier")
                candidates.CopyFrom(request.candidates)
            else:
                if request.verifier or request.candidates.story or request.candidates.HasField("question"):
                    raise InvalidInput("candidates", "names a story anew; open a stream for each question")
                requests.check_traces(request.candidates.traces)
                del candidates.traces[:]
                candidates.traces.extend(request.candidates.traces)
            asked = verifier_pb2.ScoreTracesRequest(verifier=verifier, candidates=candidates)
            answer = await self._run(steps.SCORE, asked, verifier)
            yield verifier_pb2.ScoreTraceStreamResponse(scores=answer.scores)

    async def SelectBest(  # noqa: N802
        self, request: verifier_pb2.SelectBestRequest, context: grpc.aio.ServicerContext
    ) -> verifier_pb2.SelectBestResponse:
        requests.check_select(request)
        return await self._run(steps.SELECT, request)

    async def BeamSearch(  # noqa: N802
        self, request: verifier_pb2.BeamSearchRequest, context: grpc.aio.ServicerContext
    ) -> verifier_pb2.BeamSearchResponse:
        requests.check_beam(request)
        asked = verifier_pb2.BeamSearchRequest()
        asked.CopyFrom(request)
        asked.verifier = await self._expect_network(request.verifier, VERIFIERS, "verifier")
        asked.generator = await self._expect_network(request.generator, (kinds.GENERATOR,), "generator")
        return await self._run(steps.BEAM_SEARCH, asked, asked.verifier)

    async def CreateModel(  # noqa: N802
        self, request: epistemic_pb2.CreateModelRequest, context: grpc.aio.ServicerContext
    ) -> epistemic_pb2.CreateModelResponse:
        if not request.text.strip():
            raise InvalidInput("text", "is empty; declare agents, worlds and relations")
        return await self._run(steps.CREATE_MODEL, request)

    async def UpdateModel(  # noqa: N802
        self, request: epistemic_pb2.UpdateModelRequest, context: grpc.aio.ServicerContext
    ) -> epistemic_pb2.UpdateModelResponse:
        await self._expect_source(request.model)
        if not request.events.strip():
            raise InvalidInput("events", "are empty; give an event model's text, or an announcement")
        return await self._run(steps.UPDATE_MODEL, request)

    async def ModelCheck(  # noqa: N802
        self, request: epistemic_pb2.ModelCheckRequest, context: grpc.aio.ServicerContext
    ) -> epistemic_pb2.ModelCheckResponse:
        requests.check_model_check(request)
        if request.model:
            await self._front.expect(request.model, kinds.EPISTEMIC, "model")
        return await self._run(steps.MODEL_CHECK, request)

    async def Contract(  # noqa: N802
        self, request: epistemic_pb2.ContractRequest, context: grpc.aio.ServicerContext
    ) -> epistemic_pb2.ContractResponse:
        await self._expect_source(request.model)
        return await self._run(steps.CONTRACT, request)

    async def TrainPbm(  # noqa: N802
        self, request: verifier_pb2.TrainPbmRequest, context: grpc.aio.ServicerContext
    ) -> verifier_pb2.TrainPbmResponse:
        requests.check_train(request)
        if request.base:
            await self._front.expect(request.base, kinds.MODEL, "base")
        return verifier_pb2.TrainPbmResponse(operation=await self._front.start(jobs.TRAIN_PBM, request))

    async def ScanSensitivity(  # noqa: N802
        self, request: sensitivity_pb2.ScanSensitivityRequest, context: grpc.aio.ServicerContext
    ) -> sensitivity_pb2.ScanSensitivityResponse:
        requests.check_scan(request)
        await self._expect_subject(request)
        operation = await self._front.start(jobs.SCAN_SENSITIVITY, request)
        return sensitivity_pb2.ScanSensitivityResponse(operation=operation)

    async def PerturbAndEvaluate(  # noqa: N802
        self, request: sensitivity_pb2.PerturbAndEvaluateRequest, context: grpc.aio.ServicerContext
    ) -> sensitivity_pb2.PerturbAndEvaluateResponse:
        requests.check_perturb(request)
        await self._expect_subject(request)
        for index, mask in enumerate(request.masks):
            await self._front.expect(mask, kinds.MASK, f"masks[{index}]")
        operation = await self._front.start(jobs.PERTURB_AND_EVALUATE, request)
        return sensitivity_pb2.PerturbAndEvaluateResponse(operation=operation)

    async def AnalyzeRope(  # noqa: N802
        self, request: sensitivity_pb2.AnalyzeRopeRequest, context: grpc.aio.ServicerContext
    ) -> sensitivity_pb2.AnalyzeRopeResponse:
        requests.check_rope(request)
        await self._front.expect(request.model, kinds.MODEL, "model")
        if request.mask:
            await self._front.expect(request.mask, kinds.MASK, "mask")
        return sensitivity_pb2.AnalyzeRopeResponse(operation=await self._front.start(jobs.ANALYZE_ROPE, request))

    async def _run(self, step: Step[RequestT, ReplyT], request: RequestT, model_id: str = "") -> ReplyT:
        return await self._front.engine.run(step, request, current_call().step_call(model_id=model_id))

    async def _stream(self, step: Step[RequestT, ReplyT], request: RequestT) -> AsyncGenerator[ReplyT, None]:
        async with aclosing(self._front.engine.stream(step, request, current_call().step_call())) as events:
            async for event in events:
                if not isinstance(event, StepProgress):
                    yield event

    async def _expect_network(self, reference: str, kinds_of_it: tuple[str, ...], field: str) -> str:
        """The digest of what scores or proposes steps, which the engine may have in memory while the store is away.

        Then a digest that was met before stands for itself, as what it names cannot have changed; a label may have
        moved meanwhile.
        """
        try:
            digest = (await self._expect_any(reference, kinds_of_it, field)).digest
        except Unavailable as away:
            if (field, reference) in self._met:
                return reference
            raise Unavailable(
                f"{field}: {away.message}; what was used before can be used meanwhile, named by its whole digest",
                reason=away.reason,
                retry_after_s=away.retry_after_s or 1.0,
            ) from None
        self._met.add((field, digest))
        return digest

    async def _expect_any(self, reference: str, kinds_of_it: tuple[str, ...], field: str) -> Artifact:
        """As `Front.expect`, of one of several kinds."""
        check_reference(reference, field)
        found = await asyncio.to_thread(self._front.artifacts.get, reference)
        if (kind := found.manifest.kind) not in kinds_of_it:
            raise InvalidInput(field, f"is an artifact of kind {kind}; give one of kind {' or '.join(kinds_of_it)}")
        return found

    async def _expect_source(self, source: epistemic_pb2.ModelSource) -> None:
        requests.check_source(source)
        if source.WhichOneof("source") == "model":
            await self._front.expect(source.model, kinds.EPISTEMIC, "model.model")

    async def _expect_subject(
        self, request: sensitivity_pb2.ScanSensitivityRequest | sensitivity_pb2.PerturbAndEvaluateRequest
    ) -> None:
        """The model and the general text."""
        await self._front.expect(request.model, kinds.MODEL, "model")
        await self._front.expect(request.text, kinds.TEXT, "text")


def add_to_server(server: grpc.aio.Server, front: Front) -> None:
    tom_verifier_pb2_grpc.add_TomVerifierServiceServicer_to_server(TomVerifierServicer(front), server)
