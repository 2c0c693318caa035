"""What requests may ask for, and what they mean where they leave something out. No torch: the front checks them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from assay.errors import InvalidInput, ResourceExhausted
from assay.server.service import check_reference
from assay.tom_verifier.v1 import epistemic_pb2, sampling_pb2, sensitivity_pb2, stories_pb2, traces_pb2, verifier_pb2

MAX_LINES, MAX_ORDER, MAX_COUNT, MAX_LENGTH, MAX_NOISE = 2000, 4, 100_000, 3, 0.5
MAX_TRACES, MAX_STEPS, MAX_ROWS = 4096, 2000, 10_000
MAX_BEAM = 1024
MAX_SAMPLES_OF_TRACES, MAX_TOKENS, MAX_MODEL_NAME = 1024, 16_384, 200
MAX_TRAINING_STEPS, MAX_BATCH = 100_000, 512
MIN_TEMPERATURE = 1e-3  # below it, logits over temperature leave the range of a float
MAX_SEED = 2**31 - 1
MAX_NOTED_SEED = 2**53  # what a manifest's parameters hold exactly
MAX_SHARE, MAX_SAMPLES, MAX_CONTROLS, MAX_MASKS = 0.1, 10_000, 100, 16
SHARE, CONTROLS = 1e-3, 5
EXAMPLES = ("muddy-children", "dining-cryptographers", "sum-and-product", "russian-cards")


def check_story(story: str, field: str = "story") -> None:
    """What is wrong whatever the lines say; the grammar is the engine's."""
    if not story.strip():
        raise InvalidInput(field, "is empty; give one sentence a line")
    if (lines := sum(1 for line in story.splitlines() if line.strip())) > MAX_LINES:
        raise ResourceExhausted(
            f"{field}: has {lines:,} lines, {MAX_LINES:,} at most; give its parts one by one", reason="STORY_TOO_LONG"
        )


def check_chain(chain: stories_pb2.BeliefChain, field: str) -> None:
    if len(chain.agents) > MAX_ORDER:
        raise InvalidInput(field, f"is of order {len(chain.agents)}; {MAX_ORDER} is the highest")
    for first, second in zip(chain.agents, chain.agents[1:], strict=False):
        if first == second:
            raise InvalidInput(field, f"has {first} thinking of their own thoughts; leave one of the two out")
    if "" in chain.agents:
        raise InvalidInput(field, "names no one; give every agent's name")


def check_question(asked: stories_pb2.AskedQuestion, field: str = "question") -> None:
    form = asked.WhichOneof("form")
    if form is None or (form == "text" and not asked.text.strip()):
        raise InvalidInput(field, "is empty; ask in words, or give an object and a chain of agents")
    if form == "question":
        if not asked.question.thing:
            raise InvalidInput(f"{field}.question.thing", "is empty; name the object that is asked about")
        check_chain(asked.question.chain, f"{field}.question.chain")


def check_simulate(request: stories_pb2.SimulateRequest) -> None:
    check_story(request.story)
    for index, chain in enumerate(request.chains):
        check_chain(chain, f"chains[{index}]")
    _within(request, "max_order", 0, MAX_ORDER)
    check_choice(request, "profile", stories_pb2.SemanticsProfile)
    check_choice(request, "engine", stories_pb2.BeliefEngine)


def check_answer(request: stories_pb2.AnswerQuestionRequest) -> None:
    check_story(request.story)
    check_question(request.question)
    check_choice(request, "profile", stories_pb2.SemanticsProfile)
    check_choice(request, "engine", stories_pb2.BeliefEngine)


def check_draw(request: stories_pb2.DrawStoryRequest) -> None:
    check_story(request.story)
    for index, chain in enumerate(request.chains):
        check_chain(chain, f"chains[{index}]")
    _within(request, "max_order", 0, MAX_ORDER)
    check_choice(request, "profile", stories_pb2.SemanticsProfile)


def check_generate(request: stories_pb2.GenerateStoriesRequest) -> None:
    _within(request, "count", 1, MAX_COUNT)
    _within(request, "length", 0, MAX_LENGTH)
    if request.HasField("noise") and not 0 <= request.noise <= MAX_NOISE:
        raise InvalidInput("noise", f"is {request.noise}; give 0 to {MAX_NOISE:g}")
    check_choice(request, "profile", stories_pb2.SemanticsProfile)


def check_trace(trace: traces_pb2.GivenTrace, field: str) -> None:
    form = trace.WhichOneof("form")
    if form is None or (form == "text" and not trace.text.strip()) or (form == "trace" and not trace.trace.steps):
        raise InvalidInput(field, "is empty; give a trace's text or its steps")
    if form == "trace" and len(trace.trace.steps) > MAX_STEPS:
        raise ResourceExhausted(f"{field}: has {len(trace.trace.steps):,} steps, {MAX_STEPS:,} at most")


def check_check_trace(request: traces_pb2.CheckTraceRequest) -> None:
    check_story(request.story)
    check_question(request.question)
    check_trace(request.trace, "trace")
    check_choice(request, "mode", traces_pb2.StepLabelMode)
    check_choice(request, "profile", stories_pb2.SemanticsProfile)


def check_rows(request: traces_pb2.EvaluateRequest | traces_pb2.AuditRequest) -> None:
    """Of the rows their number alone: one that cannot be read is counted among the answers."""
    if not 1 <= len(request.rows) <= MAX_ROWS:
        raise InvalidInput("rows", f"are {len(request.rows):,}; give 1 to {MAX_ROWS:,}")
    check_choice(request, "profile", stories_pb2.SemanticsProfile)


def check_sample(request: sampling_pb2.SampleTracesRequest) -> None:
    kind = request.generator.WhichOneof("generator")
    if kind is None or not getattr(request.generator, kind).strip():
        raise InvalidInput("generator", "is empty; name an artifact, or a hosted model")
    if len(request.generator.hosted) > MAX_MODEL_NAME:
        raise InvalidInput("generator.hosted", f"is longer than {MAX_MODEL_NAME} characters")
    check_story(request.story)
    check_question(request.question)
    _within(request, "samples", 0, MAX_SAMPLES_OF_TRACES)
    _within(request, "max_tokens", 0, MAX_TOKENS)
    _check_temperature(request.temperature, "the likeliest tokens")


def check_candidates(candidates: verifier_pb2.CandidateSet) -> None:
    check_story(candidates.story, "candidates.story")
    check_question(candidates.question, "candidates.question")
    check_traces(candidates.traces)


def check_traces(traces: Sequence[traces_pb2.GivenTrace]) -> None:
    _check_number(len(traces), "candidates.traces")
    for index, trace in enumerate(traces):
        check_trace(trace, f"candidates.traces[{index}]")


def check_select(request: verifier_pb2.SelectBestRequest) -> None:
    _check_number(len(request.candidates), "candidates")
    check_choice(request, "aggregation", verifier_pb2.Aggregation)
    check_choice(request, "method", verifier_pb2.SelectionMethod)
    for index, candidate in enumerate(request.candidates):
        for step, score in enumerate(candidate.step_scores):
            if not 0 <= score <= 1:  # holds for no NaN
                raise InvalidInput(f"candidates[{index}].step_scores[{step}]", f"is {score}; give 0 to 1")
        if not candidate.step_scores and request.method != verifier_pb2.SELECTION_METHOD_MAJORITY:
            raise InvalidInput(
                f"candidates[{index}].step_scores", "are left out; give one a step, or select by majority"
            )


def check_beam(request: verifier_pb2.BeamSearchRequest) -> None:
    check_reference(request.verifier, "verifier")
    check_reference(request.generator, "generator")
    check_story(request.story)
    check_question(request.question)
    _within(request, "beams", 0, MAX_BEAM)
    _within(request, "expansions", 0, MAX_BEAM)
    if (asked := (request.beams or 4) * (request.expansions or 4)) > MAX_BEAM:
        raise InvalidInput("expansions", f"times beams is {asked:,}; {MAX_BEAM:,} at most")
    _check_temperature(request.temperature, "1")


def check_model_check(request: epistemic_pb2.ModelCheckRequest) -> None:
    subject = request.WhichOneof("subject")
    if subject is None or (subject == "text" and not request.text.strip()):
        raise InvalidInput("text", f"is empty; give a model with claims, or an example: {', '.join(EXAMPLES)}")
    if subject == "example" and request.example.name not in EXAMPLES:
        raise InvalidInput("example.name", f"is {request.example.name!r}; there are {', '.join(EXAMPLES)}")
    check_choice(request, "backend", epistemic_pb2.EpistemicBackend)
    if request.max_worlds < 0:
        raise InvalidInput("max_worlds", f"is {request.max_worlds}; give 0 for the service's cap, or more")
    if request.max_worlds and request.backend == epistemic_pb2.EPISTEMIC_BACKEND_BDD:
        raise InvalidInput(
            "max_worlds", "is of listed worlds, and diagrams are bounded in nodes; leave it out, or choose explicit"
        )
    if subject == "example" and request.model:
        raise InvalidInput("model", "is given beside an example, which has its own; leave one of them out")


def check_source(source: epistemic_pb2.ModelSource, field: str = "model") -> None:
    kind = source.WhichOneof("source")
    if kind is None or not getattr(source, kind).strip():
        raise InvalidInput(field, "is empty; give a model's text, or a stored one's digest or label")


def check_train(request: verifier_pb2.TrainPbmRequest) -> None:
    for name, high in (
        ("steps", MAX_TRAINING_STEPS),
        ("batch", MAX_BATCH),
        ("length", MAX_LENGTH),
        ("generator_steps", MAX_TRAINING_STEPS),
    ):
        _within(request, name, 0, high)
    _within(request, "seed", 0, MAX_SEED)
    check_choice(request, "reading", verifier_pb2.LineReading)
    if request.reading and request.base:
        raise InvalidInput("reading", "is a small network's, and a base reads text; leave one of the two out")
    if not 0 <= request.learning_rate <= 1:
        raise InvalidInput("learning_rate", f"is {request.learning_rate}; give 0 for the default, up to 1")
    if request.learning_rate and not request.base:
        raise InvalidInput("learning_rate", "is of a base's training; name a base, or leave it out")


def check_scan(request: sensitivity_pb2.ScanSensitivityRequest) -> None:
    if len(request.shares) > MAX_MASKS:
        raise InvalidInput("shares", f"are {len(request.shares)}; give up to {MAX_MASKS}")
    for index, share in enumerate(request.shares):
        if not 0 < share <= MAX_SHARE:
            raise InvalidInput(f"shares[{index}]", f"is {share}; give more than 0, up to {MAX_SHARE:g}")
    _within(request, "samples", 0, MAX_SAMPLES)
    _within(request, "seed", 0, MAX_NOTED_SEED)


def check_perturb(request: sensitivity_pb2.PerturbAndEvaluateRequest) -> None:
    if not 1 <= len(request.masks) <= MAX_MASKS:
        raise InvalidInput("masks", f"are {len(request.masks)}; give 1 to {MAX_MASKS}")
    _within(request, "controls", 0, MAX_CONTROLS)
    _within(request, "seed", 0, MAX_NOTED_SEED)


def check_rope(request: sensitivity_pb2.AnalyzeRopeRequest) -> None:
    _within(request, "seed", 0, MAX_NOTED_SEED)


def check_choice(request: Any, name: str, kind: Any) -> None:
    if (value := getattr(request, name)) not in kind.values():
        raise InvalidInput(name, f"{value} is unknown; upgrade the service, or choose another")


def _check_number(traces: int, field: str) -> None:
    if not traces:
        raise InvalidInput(field, f"are none; give 1 to {MAX_TRACES:,}")
    if traces > MAX_TRACES:
        raise ResourceExhausted(f"{field}: are {traces:,}; {MAX_TRACES:,} at most", reason="TOO_MANY_TRACES")


def _check_temperature(temperature: float, nought: str) -> None:
    """nought: what 0 stands for."""
    if temperature != 0 and not MIN_TEMPERATURE <= temperature < math.inf:
        raise InvalidInput("temperature", f"is {temperature}; give 0 for {nought}, or at least {MIN_TEMPERATURE:g}")


def _within(request: Any, name: str, low: int, high: int) -> None:
    if not low <= (value := getattr(request, name)) <= high:
        raise InvalidInput(name, f"is {value:,}; give {low} to {high:,}")
