"""Runs the steps of one service in worker threads: the half of an engine that is the same everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from google.protobuf.message import Message

from assay.cancel import CancelToken
from assay.engine.engine import StepCall, StepProgress
from assay.engine.step import Resources, Step, StepContext, StepFunction, StepTable
from assay.errors import (
    AssayError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    ResourceExhausted,
    Unimplemented,
)
from assay.telemetry import span

EventT = TypeVar("EventT")

log = logging.getLogger(__name__)

# Engines of one process are asked at once, and transformers, imported by two threads at once, lacks names in one.
_ONE_IMPORT_AT_A_TIME = threading.Lock()

REPLIES_IN_FLIGHT = 16  # a streaming step that is read slowly waits here instead of filling memory
MESSAGE_BYTES = 4 * 2**20  # the same in every placement, so that what works embedded works elsewhere
WAITING_STEPS = 1024  # that share their work; a thread each
PROGRESS_INTERVAL_S = 0.1  # the first, the last and one each interval; a tight loop may report every token


def load_steps(module: str) -> StepTable:
    """STEPS of a service's engine module. Raises FailedPrecondition where what it computes with is missing."""
    try:
        with _ONE_IMPORT_AT_A_TIME:
            table: StepTable = importlib.import_module(module).STEPS
    except ModuleNotFoundError as error:
        distribution = module.split(".")[0].replace("_", "-")
        raise FailedPrecondition(
            f"this engine cannot run: the Python package {error.name!r} is missing; "
            f"install it with: pip install '{distribution}[engine]'",
            reason="ENGINE_NOT_INSTALLED",
        ) from error
    return table


def as_assay_error(error: BaseException) -> AssayError:
    """What the caller may know of `error`: our own errors as they are, of anything else only an id."""
    if isinstance(error, AssayError):
        return error
    error_id = uuid.uuid4().hex[:12]
    log.error("step failed, error id %s", error_id, exc_info=error)
    return Internal(
        f"an unexpected error happened; quote error id {error_id} when you report it",
        reason="UNEXPECTED",
        metadata={"error_id": error_id},
    )


def check_size(message: Message) -> None:
    """Raises ResourceExhausted for a request or reply that is too large for one message."""
    if (size := message.ByteSize()) > MESSAGE_BYTES:
        raise ResourceExhausted(
            f"a step's message has {size:,} bytes, {MESSAGE_BYTES:,} at most; ask for less at once, or hand over "
            "an artifact",
            reason="MESSAGE_TOO_LARGE",
        )


class StepHost:
    """Runs steps on an executor's threads; one thread a step.

    The service's engine module is imported in a worker on first use: it may bring torch.
    """

    def __init__(self, module: str, resources: Resources, executor: Executor) -> None:
        self._module = module
        self._resources = resources
        self._executor = executor
        self._waiting = ThreadPoolExecutor(WAITING_STEPS, thread_name_prefix="assay-waiting-step")
        self._table: dict[str, tuple[Step[Any, Any], StepFunction]] | None = None
        self._loading = threading.Lock()

    def table(self) -> dict[str, tuple[Step[Any, Any], StepFunction]]:
        with self._loading:
            if self._table is None:
                self._table = {step.name: (step, function) for step, function in load_steps(self._module).items()}
            return self._table

    def waits(self, name: str) -> bool:
        """Whether the step is known to wait for work that it shares; the engine module must be imported already."""
        known = self._table or {}
        return name in known and known[name][0].waits

    async def run(
        self,
        name: str,
        request: Message | Callable[[Step[Any, Any]], Message],
        call: StepCall,
        *,
        waits: bool = False,
    ) -> Message:
        """The step's one reply; as `events`, but without progress, which saves two of three wake-ups of the loop."""
        cancel = CancelToken(call.deadline_unix_s)

        def work() -> Message:
            try:
                with _span_of(name, call):
                    for reply in self._replies(name, request, call, cancel, _ignore):
                        return reply
                raise AssertionError(f"step {name} ended without a reply")
            except BaseException as error:
                raise as_assay_error(error) from None

        working = (self._waiting if waits else self._executor).submit(work)
        finished = asyncio.wrap_future(working)
        # Looked at whatever happens: a call that is cancelled twice does not wait for its step to say so.
        finished.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            async with asyncio.timeout(cancel.remaining_s()):
                return await asyncio.shield(finished)
        except TimeoutError:
            raise DeadlineExceeded() from None
        finally:
            if not finished.done():
                cancel.cancel()
                if not working.cancel():
                    await asyncio.wait([finished])

    async def events(
        self,
        name: str,
        request: Message | Callable[[Step[Any, Any]], Message],
        call: StepCall,
        *,
        waits: bool = False,
    ) -> AsyncGenerator[StepProgress | Message, None]:
        """Progress as it comes, then the step's reply or replies. Raises the AssayError the step failed with.

        request: the message, or how to decode it once the step is known. waits: as of `Step`.
        Closing the iterator, or cancelling its task, cancels the step and waits for its thread to stop.
        """
        loop = asyncio.get_running_loop()
        cancel = CancelToken(call.deadline_unix_s)
        happened: asyncio.Queue[StepProgress | Message | AssayError | None] = asyncio.Queue()
        room = threading.Semaphore(REPLIES_IN_FLIGHT)

        def tell(event: StepProgress | Message | AssayError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
                loop.call_soon_threadsafe(happened.put_nowait, event)

        def work() -> None:
            try:
                with _span_of(name, call):
                    for reply in self._replies(name, request, call, cancel, _throttled(tell)):
                        while not room.acquire(timeout=0.05):
                            cancel.check()
                        tell(reply)
                tell(None)
            except BaseException as error:  # a worker thread must always answer
                tell(as_assay_error(error))

        working = (self._waiting if waits else self._executor).submit(work)
        try:
            while (event := await _within(cancel, happened)) is not None:
                if isinstance(event, AssayError):
                    raise event
                yield event
                if not isinstance(event, StepProgress):
                    room.release()
        finally:
            cancel.cancel()
            if not working.cancel() and not working.done():  # what never began needs no waiting for
                await asyncio.shield(asyncio.wrap_future(working))

    def _replies(
        self,
        name: str,
        request: Message | Callable[[Step[Any, Any]], Message],
        call: StepCall,
        cancel: CancelToken,
        tell: Callable[[StepProgress], None],
    ) -> Iterator[Message]:
        known = self.table()
        if name not in known:
            raise Unimplemented(f"this engine has no step {name!r}; upgrade the engine to the front's version")
        step, function = known[name]
        message = request if isinstance(request, Message) else request(step)

        def progress(done: int, total: int, unit: str = "", **figures: float) -> None:
            tell(StepProgress(done, total, unit, figures))

        cancel.check()
        context = StepContext(self._resources, cancel, progress, call.operation_id)
        result = function(message, context)
        replies = iter((result,)) if isinstance(result, Message) else result
        try:
            for reply in replies:
                cancel.check()
                check_size(reply)
                yield reply
        finally:
            # A stream that is left early frees what it holds now, not when its last reference goes.
            if (close := getattr(replies, "close", None)) is not None:
                close()


async def _within(cancel: CancelToken, happened: asyncio.Queue[EventT]) -> EventT:
    """The next event; DeadlineExceeded where it does not come in time.

    Only the wait is bounded: a timeout around a `yield` would strike in whatever the consumer does meanwhile.
    """
    try:
        async with asyncio.timeout(cancel.remaining_s()):
            return await happened.get()
    except TimeoutError:
        raise DeadlineExceeded() from None


def _span_of(name: str, call: StepCall) -> AbstractContextManager[Any]:
    return span(f"step {name}", call.traceparent, operation_id=call.operation_id, request_id=call.request_id)


def _ignore(progress: StepProgress) -> None:
    """Tells nobody."""


def _throttled(tell: Callable[[StepProgress], None]) -> Callable[[StepProgress], None]:
    last = -PROGRESS_INTERVAL_S

    def maybe(event: StepProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL_S or event.done == event.total:
            last = now
            tell(event)

    return maybe
