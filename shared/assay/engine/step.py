"""Steps: the idempotent pieces of heavy work that a service asks of its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

from assay.cancel import CancelToken
from assay.progress import Progress, silent

if TYPE_CHECKING:
    from assay.artifacts.store import ArtifactStore
    from assay.compute import Compute

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True)
class Step(Generic[RequestT, ReplyT]):
    """A step's name and messages; what it does stands in the service's engine module.

    streaming: the step gives any number of replies instead of one.
    waits: the step mostly waits for work that it shares with others, such as a batch of requests; it takes no place
    among the steps that compute.
    """

    name: str
    request: type[RequestT]
    reply: type[ReplyT]
    streaming: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Resources:
    """What steps may use; made where the engine lives."""

    artifacts: ArtifactStore
    compute: Compute


@dataclass(frozen=True)
class StepContext:
    """What a step is given beside its request. `cancel` is polled wherever the work can stop."""

    resources: Resources
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: Progress = silent
    operation_id: str = ""

    @property
    def artifacts(self) -> ArtifactStore:
        return self.resources.artifacts

    @property
    def compute(self) -> Compute:
        return self.resources.compute


# Synchronous, called in a worker thread: (request, context) -> reply, or an iterator of replies.
StepFunction = Callable[[Any, StepContext], Message | Iterator[Message]]
StepTable = Mapping[Step[Any, Any], StepFunction]
