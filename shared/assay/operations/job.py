"""Jobs: long methods written as ordinary async functions whose engine steps are committed one by one.

After a crash a job's body runs again from the top and finds the replies of finished steps in the store, so it
must be deterministic: no clock, no randomness, no iteration over sets. Everything else belongs into a step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from assay.engine.step import ReplyT, RequestT, Step

JobRequestT = TypeVar("JobRequestT", bound=Message)
JobResultT = TypeVar("JobResultT", bound=Message)


class Run(Protocol):
    """One execution of a job, as its body sees it."""

    async def step(
        self,
        name: str,
        step: Step[RequestT, ReplyT],
        request: RequestT,
        *,
        model_id: str = "",
        no_return: bool = False,
    ) -> ReplyT:
        """Runs `step` on the engine, or gives the reply that is committed under `name` already.

        no_return: from here on the operation can no longer be cancelled, because the step changes what others see.
        Raises Cancelled where a cancel came first.
        """
        ...

    async def map(
        self,
        name: str,
        step: Step[RequestT, ReplyT],
        requests: Sequence[RequestT],
        *,
        concurrency: int = 2,
        model_id: str = "",
    ) -> list[ReplyT]:
        """A step for each request, `concurrency` at a time, in order; each is committed as `name/<index>`."""
        ...

    def scope(self, name: str) -> Run:
        """The same run with `name/` before every step's name: lets one body call another's."""
        ...


@dataclass(frozen=True)
class Job(Generic[JobRequestT, JobResultT]):
    """A long method. method: "/assay.moe_router.v1.MoeRouterService/Calibrate"."""

    method: str
    request: type[JobRequestT]
    result: type[JobResultT]
    body: Callable[[Run, JobRequestT], Awaitable[JobResultT]]
