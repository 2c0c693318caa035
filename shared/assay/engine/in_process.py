"""The engine in this process: a laptop, a test, a small deployment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import cast

from assay.engine.engine import StepCall, StepProgress
from assay.engine.environment import describe_environment
from assay.engine.host import StepHost
from assay.engine.step import ReplyT, RequestT, Resources, Step
from assay.engine.v1 import engine_pb2


class WorkSlots:
    """How many steps may compute at once, over all services embedded in this process."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps or max(1, (os.cpu_count() or 1))
        self.executor = ThreadPoolExecutor(self.steps, thread_name_prefix="assay-step")
        self.semaphore = asyncio.Semaphore(self.steps)

    def close(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)


class InProcessEngine:
    """Runs steps in threads of this process; `slots` is shared by all engines embedded in it."""

    def __init__(self, module: str, resources: Resources, slots: WorkSlots) -> None:
        self._slots = slots
        self._host = StepHost(module, resources, slots.executor)

    async def run(self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall) -> ReplyT:
        async with self._slot(step):
            return cast("ReplyT", await self._host.run(step.name, request, call, waits=step.waits))

    async def stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall
    ) -> AsyncGenerator[StepProgress | ReplyT, None]:
        steps = self._host.events(step.name, request, call, waits=step.waits)
        async with self._slot(step), aclosing(steps) as events:
            async for event in events:
                yield cast("StepProgress | ReplyT", event)

    async def describe(self) -> engine_pb2.DescribeEngineResponse:
        return await asyncio.to_thread(lambda: describe_environment(self._host.table()))

    async def check(self) -> None:
        """An engine in this process is there whenever its front is."""

    async def close(self) -> None: ...

    def _slot(self, step: Step[RequestT, ReplyT]) -> AbstractAsyncContextManager[object]:
        """A place among the steps that compute, where the step does."""
        return nullcontext() if step.waits else self._slots.semaphore
