"""MoeRouterService: validate, start the job or run the step, answer."""

from __future__ import annotations

import asyncio

import grpc.aio

from assay.errors import InvalidInput
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import moe_router_pb2_grpc
from assay.server.call import current_call
from assay.server.service import Front
from assay_moe_router import active_plan, jobs, kinds, steps
from assay_moe_router.requests import check_plan, metric_of, resamples_of, selection


class MoeRouterServicer(moe_router_pb2_grpc.MoeRouterServiceServicer):
    """What references name is looked up before a job starts, so that a wrong one fails the call itself."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def DescribeModel(  # noqa: N802
        self, request: api.DescribeModelRequest, context: grpc.aio.ServicerContext
    ) -> api.DescribeModelResponse:
        digest = await self._front.expect(request.model, kinds.MODEL, "model")
        call = current_call().step_call(model_id=digest)
        return await self._front.engine.run(steps.DESCRIBE, api.DescribeModelRequest(model=digest), call)

    async def Calibrate(  # noqa: N802
        self, request: api.CalibrateRequest, context: grpc.aio.ServicerContext
    ) -> api.CalibrateResponse:
        selection(request.text, "calibration")
        await self._front.expect(request.model, kinds.MODEL, "model")
        await self._front.expect(request.text.text, kinds.TEXT, "text.text")
        return api.CalibrateResponse(operation=await self._front.start(jobs.CALIBRATE, request))

    async def ScoreImportance(  # noqa: N802
        self, request: api.ScoreImportanceRequest, context: grpc.aio.ServicerContext
    ) -> api.ScoreImportanceResponse:
        selection(request.text, "calibration")
        metric_of(request)
        await self._front.expect(request.model, kinds.MODEL, "model")
        await self._front.expect(request.text.text, kinds.TEXT, "text.text")
        return api.ScoreImportanceResponse(operation=await self._front.start(jobs.SCORE_IMPORTANCE, request))

    async def PlanReplicateQuantize(  # noqa: N802
        self, request: api.PlanReplicateQuantizeRequest, context: grpc.aio.ServicerContext
    ) -> api.PlanReplicateQuantizeResponse:
        check_plan(request)
        return await self._front.engine.run(steps.PLAN, request, current_call().step_call())

    async def ApplyPlan(  # noqa: N802
        self, request: api.ApplyPlanRequest, context: grpc.aio.ServicerContext
    ) -> api.ApplyPlanResponse:
        _check_epoch(request.expected_epoch)
        await self._front.expect(request.plan, kinds.PLAN, "plan")
        return api.ApplyPlanResponse(operation=await self._front.start(jobs.APPLY_PLAN, request))

    async def RevertPlan(  # noqa: N802
        self, request: api.RevertPlanRequest, context: grpc.aio.ServicerContext
    ) -> api.RevertPlanResponse:
        _check_epoch(request.expected_epoch)
        digest = await self._front.expect(request.model, kinds.MODEL, "model")
        now = await asyncio.to_thread(active_plan.revert, self._front.artifacts, digest, request.expected_epoch)
        return api.RevertPlanResponse(active=_active(now))

    async def GetActivePlan(  # noqa: N802
        self, request: api.GetActivePlanRequest, context: grpc.aio.ServicerContext
    ) -> api.GetActivePlanResponse:
        digest = await self._front.expect(request.model, kinds.MODEL, "model")
        now = await asyncio.to_thread(active_plan.standing, self._front.artifacts, digest)
        return api.GetActivePlanResponse(active=_active(now.activation))

    async def Evaluate(  # noqa: N802
        self, request: api.EvaluateRequest, context: grpc.aio.ServicerContext
    ) -> api.EvaluateResponse:
        selection(request.text, "test")
        resamples_of(request)
        await self._front.expect(request.balanced_model, kinds.BALANCED, "balanced_model")
        await self._front.expect(request.text.text, kinds.TEXT, "text.text")
        return api.EvaluateResponse(operation=await self._front.start(jobs.EVALUATE, request))


def add_to_server(server: grpc.aio.Server, front: Front) -> None:
    moe_router_pb2_grpc.add_MoeRouterServiceServicer_to_server(MoeRouterServicer(front), server)


def _check_epoch(epoch: int) -> None:
    if epoch < 0:
        raise InvalidInput("expected_epoch", f"is {epoch}; give the epoch you saw, or 0 for whichever it is")


def _active(activation: active_plan.Activation) -> api.ActivePlan:
    return api.ActivePlan(plan=activation.plan, balanced_model=activation.balanced_model, epoch=activation.epoch)
