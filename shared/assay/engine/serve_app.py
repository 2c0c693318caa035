"""The engine of one service as a Ray Serve application.

Serve configuration: `import_path: assay.engine.serve_app:build`, `args: {service: moe_router}`, with
GRPC_SERVICER as the one entry of `grpc_options.grpc_servicer_functions`. The store comes from the
replica's environment (`assay.config`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from ray import serve

from assay.compute.on_ray import RayCompute
from assay.config import Config
from assay.engine.engine import StepCall, StepProgress
from assay.engine.environment import describe_environment
from assay.engine.host import StepHost, as_assay_error
from assay.engine.step import Resources, Step
from assay.engine.v1 import engine_pb2
from assay.errors import InvalidInput
from assay.status import to_status
from assay.telemetry import configure

GRPC_SERVICER = "assay.engine.v1.engine_pb2_grpc.add_EngineServiceServicer_to_server"
MODELS_PER_REPLICA = 4
STEPS_PER_REPLICA = 4

log = logging.getLogger(__name__)


class EngineReplica:
    """Serves EngineService for the steps of one engine module."""

    def __init__(self, service: str, engine_module: str) -> None:
        config = Config.from_environment()
        configure(f"assay-{service}-engine", otlp_endpoint=config.otlp_endpoint)
        resources = Resources(config.open_artifacts(), RayCompute())
        self._host = StepHost(engine_module, resources, ThreadPoolExecutor(STEPS_PER_REPLICA))

    @serve.multiplexed(max_num_models_per_replica=MODELS_PER_REPLICA)
    async def warm(self, model_id: str) -> str:
        """Tells Serve that this replica has the model, so that calls for it come here; steps load it."""
        return model_id

    async def RunStep(self, request: engine_pb2.RunStepRequest) -> engine_pb2.RunStepResponse:  # noqa: N802
        try:
            async with aclosing(self._events(request)) as events:
                async for event in events:
                    if not isinstance(event, StepProgress):
                        return engine_pb2.RunStepResponse(reply=_pack(event))
            raise AssertionError("the step ended without a reply")
        except Exception as error:
            return engine_pb2.RunStepResponse(status=to_status(as_assay_error(error)))

    async def StreamStep(  # noqa: N802
        self, request: engine_pb2.StreamStepRequest
    ) -> AsyncIterator[engine_pb2.StreamStepResponse]:
        try:
            async with aclosing(self._events(request)) as events:
                async for event in events:
                    if isinstance(event, StepProgress):
                        progress = engine_pb2.StepProgress(
                            done=event.done, total=event.total, unit=event.unit, figures=event.figures
                        )
                        yield engine_pb2.StreamStepResponse(progress=progress)
                    else:
                        yield engine_pb2.StreamStepResponse(reply=_pack(event))
        except Exception as error:
            yield engine_pb2.StreamStepResponse(status=to_status(as_assay_error(error)))
            return
        yield engine_pb2.StreamStepResponse(done=engine_pb2.StepDone())

    async def DescribeEngine(  # noqa: N802
        self, request: engine_pb2.DescribeEngineRequest
    ) -> engine_pb2.DescribeEngineResponse:
        return describe_environment(step.name for step, _ in self._host.table().values())

    async def _events(self, request: Any) -> AsyncGenerator[Any, None]:
        call = request.call
        if call.model_id:
            await self.warm(call.model_id)
        sent = StepCall(
            deadline_unix_s=call.deadline_unix_s or None,
            traceparent=call.traceparent,
            operation_id=call.operation_id,
            request_id=call.request_id,
            model_id=call.model_id,
        )
        async with aclosing(self._host.events(call.step, lambda step: _unpack(request.request, step), sent)) as events:
            async for event in events:
                yield event


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application of the service `args["service"]`.

    replicas, cpus, gpus (per replica), downscale_delay_s are read from `args` too; replicas may be
    "min:max" for autoscaling on open streams.
    """
    from assay.server.service import find_service

    service = find_service(str(args["service"]))
    low, _, high = str(args.get("replicas", "1")).partition(":")
    scaling: dict[str, Any] = {"num_replicas": int(low)}
    if high:
        scaling = {
            "autoscaling_config": {
                "min_replicas": int(low),
                "max_replicas": int(high),
                "target_ongoing_requests": 1,
                "downscale_delay_s": float(args.get("downscale_delay_s", 300)),
            }
        }
    options = {
        "name": service.name,
        "max_ongoing_requests": STEPS_PER_REPLICA * 16,
        "graceful_shutdown_timeout_s": 60,
        "health_check_period_s": 5,
        "ray_actor_options": {"num_cpus": float(args.get("cpus", 0.5)), "num_gpus": float(args.get("gpus", 0))},
        **scaling,
    }
    replica = serve.deployment(EngineReplica).options(**options)
    return replica.bind(service.name, service.engine_module)


def _pack(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _unpack(packed: any_pb2.Any, step: Step[Any, Any]) -> Any:
    message = step.request()
    try:
        if not packed.Unpack(message):
            raise InvalidInput("request", f"is no {step.request.DESCRIPTOR.full_name}; align front and engine versions")
    except DecodeError:
        raise InvalidInput("request", "cannot be decoded") from None
    return message
