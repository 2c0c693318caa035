"""What requests may ask for, and what they mean where they leave something out."""

from __future__ import annotations

from assay.errors import InvalidInput
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.server.service import check_reference

SEQUENCES, SEQUENCE_TOKENS, BATCH_SEQUENCES = 96, 128, 8
RESAMPLES = 10_000
MAX_SEQUENCES, MAX_SEQUENCE_TOKENS, MAX_BATCH, MAX_RESAMPLES = 1_000_000, 1_048_576, 4096, 1_000_000


def selection(text: api.TextSelection, default_split: str) -> api.TextSelection:
    """`text` with its defaults filled in. InvalidInput naming the field."""
    if not text.text:
        raise InvalidInput("text.text", "is empty; give the digest or label of a text artifact")
    for name, low, high in (
        ("sequences", 0, MAX_SEQUENCES),
        ("sequence_tokens", 0, MAX_SEQUENCE_TOKENS),
        ("batch_sequences", 0, MAX_BATCH),
    ):
        value = getattr(text, name)
        if not low <= value <= high:
            raise InvalidInput(f"text.{name}", f"is {value}; give 0 for the default, or 1 to {high}")
    if text.sequence_tokens == 1:
        raise InvalidInput("text.sequence_tokens", "is 1, which leaves nothing to predict; give at least 2")
    return api.TextSelection(
        text=text.text,
        split=text.split or default_split,
        sequences=text.sequences or SEQUENCES,
        sequence_tokens=text.sequence_tokens or SEQUENCE_TOKENS,
        batch_sequences=text.batch_sequences or BATCH_SEQUENCES,
    )


def metric_of(request: api.ScoreImportanceRequest) -> api.ImportanceMetric:
    """The metric asked for; the paper's where none is named."""
    if request.metric not in api.ImportanceMetric.values():
        raise InvalidInput("metric", f"{request.metric} is unknown; upgrade the service, or choose another")
    return request.metric or api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS


def resamples_of(request: api.EvaluateRequest) -> int:
    """How many bootstrap resamples."""
    if request.bootstrap_resamples and not 100 <= request.bootstrap_resamples <= MAX_RESAMPLES:
        raise InvalidInput(
            "bootstrap_resamples",
            f"is {request.bootstrap_resamples}; give 0 for {RESAMPLES}, or 100 to {MAX_RESAMPLES}",
        )
    return request.bootstrap_resamples or RESAMPLES


def check_plan(request: api.PlanReplicateQuantizeRequest) -> None:
    """InvalidInput for what no state of the system could make right."""
    check_reference(request.statistics, "statistics")
    check_reference(request.importance, "importance")
    if request.policy not in api.PlanPolicy.values():
        raise InvalidInput("policy", f"{request.policy} is unknown; upgrade the service, or choose another")
