"""The call that is being answered: who asks, until when, as part of which trace."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from assay.engine.engine import StepCall
from assay.telemetry import current_traceparent


@dataclass(slots=True)
class Call:
    """caller: the identity the transport proved, "anonymous" on a plaintext one; empty until it has.

    The guard fills it in while it admits the call; nobody else changes it.
    """

    method: str
    request_id: str
    caller: str = ""
    deadline_unix_s: float = 0.0

    def step_call(self, model_id: str = "") -> StepCall:
        """What an engine step made on behalf of this call carries."""
        return StepCall(
            deadline_unix_s=self.deadline_unix_s,
            traceparent=current_traceparent(),
            request_id=self.request_id,
            model_id=model_id,
        )


CURRENT: ContextVar[Call] = ContextVar("assay_call")


def current_call() -> Call:
    """The call this task answers; LookupError outside one."""
    return CURRENT.get()


def request_id_of_task() -> str:
    """For log lines: the request id, empty outside a call."""
    call = CURRENT.get(None)
    return call.request_id if call else ""
