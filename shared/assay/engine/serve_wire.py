"""What a front and an engine on Ray Serve agree on beside the messages of assay.engine.v1."""

from __future__ import annotations

import os

from assay.engine.host import MESSAGE_BYTES
from assay.errors import FailedPrecondition

TOKEN_HEADER = "x-assay-engine-token"
TOKEN_VARIABLE = "ASSAY_ENGINE_TOKEN"
HEARTBEAT_S = 5.0  # an open stream is heard of this often, so that a front can tell work from a machine that is gone
SILENCE_S = 60.0  # after this long without a word its engine is taken for lost
WIRE_BYTES = MESSAGE_BYTES + 64 * 2**10  # a step's message, and what it may grow by on the way


def token_of_environment() -> str:
    """What fronts show and engines expect; empty where the network alone keeps strangers from the engine."""
    return os.environ.get(TOKEN_VARIABLE, "")


def refused() -> FailedPrecondition:
    """What a caller without the engine's token is told."""
    return FailedPrecondition(
        "the engine refuses this front; give both the same ASSAY_ENGINE_TOKEN", reason="ENGINE_REFUSED"
    )
