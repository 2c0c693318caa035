"""The one interface to where heavy work runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from assay.engine.step import ReplyT, RequestT, Step
from assay.engine.v1 import engine_pb2


@dataclass(frozen=True)
class StepCall:
    """What travels with a step beside its request.

    deadline_unix_s: when the caller stops waiting, None for never. traceparent: W3C trace context.
    model_id: the model the step works on, for replicas that keep models loaded.
    """

    deadline_unix_s: float | None = None
    traceparent: str = ""
    operation_id: str = ""
    request_id: str = ""
    model_id: str = ""

    def to_proto(self, step: str) -> engine_pb2.StepCall:
        return engine_pb2.StepCall(
            step=step,
            deadline_unix_s=self.deadline_unix_s or 0.0,
            traceparent=self.traceparent,
            operation_id=self.operation_id,
            request_id=self.request_id,
            model_id=self.model_id,
        )


@dataclass(frozen=True)
class StepProgress:
    """How far a step has come; `total` 0 where not known yet."""

    done: int
    total: int
    unit: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Runs the steps of one service.

    Failures arrive as the AssayError the step raised; a lost engine as Unavailable. Cancelling the awaiting
    task, or closing the stream, stops the step itself.
    """

    async def run(self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall) -> ReplyT: ...

    def stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall
    ) -> AsyncGenerator[StepProgress | ReplyT, None]: ...

    async def describe(self) -> engine_pb2.DescribeEngineResponse: ...

    async def check(self) -> None:
        """Raises Unavailable where the engine cannot be reached."""

    async def close(self) -> None: ...
