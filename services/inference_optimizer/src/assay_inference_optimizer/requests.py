"""What requests may ask for, and what they mean where they leave something out. No torch: the front checks them."""

from __future__ import annotations

import math

from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.server.service import check_reference

MAX_SEQUENCES, MAX_SEQUENCE_TOKENS, MAX_TEXTS, MAX_ALTERNATIVES = 100_000, 1_048_576, 1024, 20
MAX_LENGTH, MAX_HEADS, MAX_ROUNDS = 1_048_576, 1024, 100
LOSS_INCREASE_NATS, EPSILON, DELTA = 0.01, 0.02, 0.05
DTYPES = ("", "float32", "bfloat16", "float16")


def check_text(text: api.TextSelection) -> None:
    if bool(text.text) == bool(text.literal):
        raise InvalidInput("text", "needs either text, an artifact's digest or label, or literal text")
    for name, high in (("sequences", MAX_SEQUENCES), ("sequence_tokens", MAX_SEQUENCE_TOKENS)):
        value = getattr(text, name)
        if not 0 <= value <= high:
            raise InvalidInput(f"text.{name}", f"is {value}; give 0 for the default, or 1 to {high}")
    if text.sequence_tokens == 1:
        raise InvalidInput("text.sequence_tokens", "is 1, which leaves nothing to predict; give at least 2")


def check_generate(request: api.GenerateRequest) -> None:
    """What is wrong whatever the model; the engine checks the rest."""
    check_reference(request.model, "model")
    if request.prompt.WhichOneof("content") is None:
        raise InvalidInput("prompt", "is empty; give text, tokens or a conversation")


def check_score(request: api.ScoreRequest) -> None:
    check_reference(request.model, "model")
    if not 1 <= (given := len(request.texts) + len(request.tokens)) <= MAX_TEXTS:
        raise InvalidInput("texts", f"are {given}, those given as tokens included; give 1 to {MAX_TEXTS}")
    if not 0 <= request.alternatives <= MAX_ALTERNATIVES:
        raise InvalidInput("alternatives", f"are {request.alternatives}; give 0 to {MAX_ALTERNATIVES}")


def loss_increase_of(request: api.PlanSparsityRequest) -> float:
    budget = request.max_loss_increase_nats
    if not (0 <= budget < math.inf):
        raise InvalidInput("max_loss_increase_nats", f"is {budget}; give 0 for {LOSS_INCREASE_NATS}, or more")
    if not 0 <= request.length <= MAX_LENGTH:
        raise InvalidInput("length", f"is {request.length}; give 0 for the model's context, or 1 to {MAX_LENGTH}")
    return budget or LOSS_INCREASE_NATS


def risk_of(request: api.CalibrateEarlyExitRequest) -> tuple[float, float]:
    """epsilon and delta."""
    for name in ("epsilon", "delta"):
        value = getattr(request, name)
        if not 0 <= value < 1:
            raise InvalidInput(name, f"is {value}; give more than 0 and less than 1, or 0 for the default")
    if request.rule not in api.ExitRule.values():
        raise InvalidInput("rule", f"{request.rule} is unknown; upgrade the service, or choose another")
    check_skipped(request.skip_tokens, request.text.sequence_tokens)
    return request.epsilon or EPSILON, request.delta or DELTA


def check_skipped(skipped: int, sequence_tokens: int) -> None:
    """sequence_tokens: 0 while nobody knows."""
    if skipped < 0:
        raise InvalidInput("skip_tokens", f"is {skipped}; give 0, or more")
    if sequence_tokens and skipped >= sequence_tokens:
        raise InvalidInput(
            "skip_tokens", f"is {skipped}, which leaves nothing of sequences of {sequence_tokens} tokens; give less"
        )


def check_selections(request: api.CompareSelectionRequest) -> None:
    for index, selection in enumerate(request.selections):
        if not selection or selection not in api.Selection.values():
            raise InvalidInput(f"selections[{index}]", f"{selection} is unknown; choose another")


def check_benchmark(request: api.BenchmarkAttentionRequest) -> None:
    if request.phase not in api.AttentionPhase.values():
        raise InvalidInput("phase", f"{request.phase} is unknown; choose prefill or decode")
    if request.device not in ("", "cpu", "cuda"):
        raise InvalidInput("device", f"is {request.device!r}; write cpu or cuda")
    if request.dtype not in DTYPES:
        raise InvalidInput("dtype", f"is {request.dtype!r}; write float32, bfloat16 or float16")
    for name, high in (
        ("length", MAX_LENGTH),
        ("batch", 1024),
        ("query_heads", MAX_HEADS),
        ("kv_heads", MAX_HEADS),
        ("head_dim", 1024),
        ("rounds", MAX_ROUNDS),
    ):
        value = getattr(request, name)
        if not 0 <= value <= high:
            raise InvalidInput(name, f"is {value}; give 0 for the default, or 1 to {high}")
    if request.phase == api.ATTENTION_PHASE_DECODE and request.length == 1:
        raise InvalidInput("length", "is 1, which leaves no token before the one that is decoded; give at least 2")
