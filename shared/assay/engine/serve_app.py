"""The engine of one service as a Ray Serve application.

Serve configuration: `import_path: assay.engine.serve_app:build`, `args: {service: moe_router}`, with
GRPC_SERVICER as the one entry of `grpc_options.grpc_servicer_functions`. Store, logs, traces and the token that
fronts show (ASSAY_ENGINE_TOKEN) come from the replica's environment.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from ray import serve

from assay.compute.on_ray import RayCompute
from assay.config import Config
from assay.engine.engine import StepCall, StepProgress
from assay.engine.environment import describe_environment
from assay.engine.host import StepHost, as_assay_error
from assay.engine.serve_wire import HEARTBEAT_S, TOKEN_HEADER, refused, token_of_environment
from assay.engine.step import Resources, Step
from assay.engine.v1 import engine_pb2
from assay.errors import AssayError, InvalidInput
from assay.server.logs import configure_logs
from assay.status import to_status
from assay.telemetry import configure

GRPC_SERVICER = "assay.engine.v1.engine_pb2_grpc.add_EngineServiceServicer_to_server"
MODELS_PER_REPLICA = 4
STEPS_PER_REPLICA = 4  # more may be open; they wait for a thread
DRAIN_S = 120.0  # steps aim at a minute; one that is cut is computed again elsewhere

log = logging.getLogger(__name__)


class EngineReplica:
    """Serves EngineService for the steps of one engine module. threads: of native code on the CPU, for each step."""

    def __init__(self, service: str, engine_module: str, threads: int) -> None:
        # Read by OpenMP when torch is imported, which the steps do. Ray's own value follows num_cpus.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        config = Config.from_environment()
        configure_logs(os.environ.get("ASSAY_LOG_LEVEL", "INFO"))
        configure(f"assay-{service}-engine", otlp_endpoint=config.otlp_endpoint)
        self._token = token_of_environment().encode()
        resources = Resources(config.open_artifacts(), RayCompute())
        self._host = StepHost(engine_module, resources, ThreadPoolExecutor(STEPS_PER_REPLICA))
        try:
            self._host.table()  # imported before Serve sends calls here
        except AssayError as error:
            log.error("%s", error.message)  # every step says the same to its caller

    @serve.multiplexed(max_num_models_per_replica=MODELS_PER_REPLICA)
    async def warm(self, model_id: str) -> str:
        """Tells Serve that this replica has the model, so that calls for it come here; steps load it."""
        return model_id

    async def RunStep(  # noqa: N802
        self, request: engine_pb2.RunStepRequest, grpc_context: Any
    ) -> engine_pb2.RunStepResponse:
        if not self._admits(grpc_context):
            return engine_pb2.RunStepResponse(status=to_status(refused()))
        try:
            await self._warm(request.call)
            name = request.call.step
            waits = self._host.waits(name)
            reply = await self._host.run(name, _decoder(request), _call_of(request.call), waits=waits)
            return engine_pb2.RunStepResponse(reply=_pack(reply))
        except Exception as error:
            return engine_pb2.RunStepResponse(status=to_status(as_assay_error(error)))

    async def StreamStep(  # noqa: N802
        self, request: engine_pb2.StreamStepRequest, grpc_context: Any
    ) -> AsyncIterator[engine_pb2.StreamStepResponse]:
        if not self._admits(grpc_context):
            yield engine_pb2.StreamStepResponse(status=to_status(refused()))
            return
        try:
            await self._warm(request.call)
            name = request.call.step
            waits = self._host.waits(name)
            steps = self._host.events(name, _decoder(request), _call_of(request.call), waits=waits)
            async with aclosing(_with_heartbeat(steps)) as events:
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
        self, request: engine_pb2.DescribeEngineRequest, grpc_context: Any
    ) -> engine_pb2.DescribeEngineResponse:
        if not self._admits(grpc_context):
            # A returned status arrives as it is; of a raised one Serve would send the traceback.
            grpc_context.set_code(grpc.StatusCode.PERMISSION_DENIED)
            grpc_context.set_details("only fronts may call an engine")
            return engine_pb2.DescribeEngineResponse()
        # In a thread: the first one imports torch.
        return await asyncio.to_thread(lambda: describe_environment(s.name for s, _ in self._host.table().values()))

    def _admits(self, context: Any) -> bool:
        """Whether the caller is a front of ours."""
        if not self._token:
            return True
        shown = dict(context.invocation_metadata()).get(TOKEN_HEADER, "")
        return hmac.compare_digest(shown.encode(), self._token)

    async def _warm(self, call: engine_pb2.StepCall) -> None:
        if call.model_id:
            await self.warm(call.model_id)


async def _with_heartbeat(events: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """`events`, with the last progress again wherever HEARTBEAT_S pass without any."""
    last = StepProgress(0, 0)
    coming: asyncio.Task[Any] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(events, None))
            while not (await asyncio.wait([coming], timeout=HEARTBEAT_S))[0]:
                yield last
            event = coming.result()
            if event is None:
                return
            if isinstance(event, StepProgress):
                last = event
            yield event
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application of the installed service `args["service"]`; see `application` for the other args."""
    from assay.server.service import find_service

    service = find_service(str(args["service"]))
    return application(service.name, service.engine_module, args)


def application(name: str, engine_module: str, args: dict[str, Any]) -> serve.Application:
    """The Serve application `name` for the steps of `engine_module`. args, all optional:

    replicas: "1", or "min:max" for autoscaling on open steps, min 0 allowed.
    ongoing: open steps that autoscaling aims at for each replica, by default 1.
    cpus, gpus: what a replica reserves. threads: of native code in a step, by default the whole cpus.
    downscale_delay_s: how long less demand must last before replicas go.
    drain_s: how long the open steps of a replica that is replaced may take to end before they are cut.
    """
    low, _, high = str(args.get("replicas", "1")).partition(":")
    cpus = float(args.get("cpus", 0.5))
    scaling: dict[str, Any] = {"num_replicas": int(low)}
    if high:
        scaling = {
            "autoscaling_config": {
                "min_replicas": int(low),
                "max_replicas": int(high),
                "target_ongoing_requests": float(args.get("ongoing", 1)),
                "upscale_delay_s": 5,
                "downscale_delay_s": float(args.get("downscale_delay_s", 300)),
            }
        }
    options = {
        "name": name,
        "max_ongoing_requests": STEPS_PER_REPLICA * 16,
        "graceful_shutdown_timeout_s": float(args.get("drain_s", DRAIN_S)),
        "health_check_period_s": 5,
        # The front logs every call; Serve's line costs each a tenth of a millisecond.
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "ray_actor_options": {"num_cpus": cpus, "num_gpus": float(args.get("gpus", 0))},
        **scaling,
    }
    threads = int(args.get("threads") or max(1, int(cpus)))
    return serve.deployment(EngineReplica).options(**options).bind(name, engine_module, threads)


def _pack(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _call_of(call: engine_pb2.StepCall) -> StepCall:
    return StepCall(
        deadline_unix_s=call.deadline_unix_s or None,
        traceparent=call.traceparent,
        operation_id=call.operation_id,
        request_id=call.request_id,
        model_id=call.model_id,
    )


def _decoder(request: engine_pb2.RunStepRequest | engine_pb2.StreamStepRequest) -> Callable[[Step[Any, Any]], Message]:
    """Reads the step's own message, in the step's thread."""

    def decode(step: Step[Any, Any]) -> Message:
        message: Message = step.request()
        try:
            if not request.request.Unpack(message):
                expected = step.request.DESCRIPTOR.full_name
                raise InvalidInput("request", f"is no {expected}; align front and engine versions")
        except DecodeError:
            raise InvalidInput("request", "cannot be decoded") from None
        return message

    return decode
