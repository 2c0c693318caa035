"""What a front and an engine on Ray Serve agree on beside the messages of assay.engine.v1."""

from __future__ import annotations

import os

TOKEN_HEADER = "x-assay-engine-token"
TOKEN_VARIABLE = "ASSAY_ENGINE_TOKEN"
HEARTBEAT_S = 5.0  # an open stream is heard of this often, so that a front can tell work from a machine that is gone
SILENCE_S = 60.0  # after this long without a word its engine is taken for lost


def token_of_environment() -> str:
    """What fronts show and engines expect; empty where the network alone keeps strangers from the engine."""
    return os.environ.get(TOKEN_VARIABLE, "")
