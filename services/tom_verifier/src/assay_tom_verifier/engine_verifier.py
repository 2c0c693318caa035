"""Steps that score, select and search by a process belief model."""

from __future__ import annotations

import torch

from assay.artifacts.store import ArtifactStore
from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.models.checkpoint import CONFIG
from assay.tom_verifier.v1 import verifier_pb2 as api
from assay_tom_verifier.core.traces.compose import compose_trace
from assay_tom_verifier.core.traces.format import NULL
from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.beam_search import beam_search
from assay_tom_verifier.core.verifier.checkpoint_model import CheckpointVerifier
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.network_search import NetworkProposer, NetworkScorer
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, load_network
from assay_tom_verifier.core.verifier.select import Selection, select, whole
from assay_tom_verifier.core.verifier.train_checkpoint import load_checkpoint_verifier
from assay_tom_verifier.core.verifier.written_traces import read_answer, read_claims
from assay_tom_verifier.engine_reading import containers_for, story_for
from assay_tom_verifier.loaded_networks import LoadedNetworks
from assay_tom_verifier.translate import question_of, trace_of, trace_to_proto

AGGREGATIONS = {
    api.AGGREGATION_UNSPECIFIED: Aggregation.PROD,
    api.AGGREGATION_PROD: Aggregation.PROD,
    api.AGGREGATION_MIN: Aggregation.MIN,
    api.AGGREGATION_MEAN: Aggregation.MEAN,
    api.AGGREGATION_LAST: Aggregation.LAST,
}
SELECTIONS = {
    api.SELECTION_METHOD_UNSPECIFIED: Selection.VANILLA,
    api.SELECTION_METHOD_VANILLA: Selection.VANILLA,
    api.SELECTION_METHOD_WEIGHTED: Selection.WEIGHTED,
    api.SELECTION_METHOD_MAJORITY: Selection.MAJORITY,
}
DEFAULT_BEAMS = DEFAULT_EXPANSIONS = 4
NETWORKS = LoadedNetworks[BeliefNetwork | CheckpointVerifier](
    lambda kept: kept.model if isinstance(kept, CheckpointVerifier) else kept
)


def score(request: api.ScoreTracesRequest, context: StepContext) -> api.ScoreTracesResponse:
    question, verifier = question_of(request.candidates.question), judge(context.artifacts, request.verifier)
    story = story_for(request.candidates.story, verifier)
    containers = containers_for(verifier, story, question)
    traces, claimed = [], []
    for given in request.candidates.traces:
        context.cancel.check()
        traces.append(trace_of(given))
        claimed.append(read_claims(traces[-1], containers))
    scored = verifier.score_claims(story, question, claimed, context.cancel)
    answer = api.ScoreTracesResponse(verifier=request.verifier)
    for trace, steps in zip(traces, scored, strict=True):
        answer.scores.add(step_scores=steps, answer=_shown(read_answer(trace, containers)))
    return answer


def select_best(request: api.SelectBestRequest, context: StepContext) -> api.SelectBestResponse:
    how, method = AGGREGATIONS[request.aggregation], SELECTIONS[request.method]
    voting = method is Selection.MAJORITY  # looks at no scores, so none need be there
    steps = [0 if voting else len(candidate.step_scores) for candidate in request.candidates]
    compared = whole([candidate.answer for candidate in request.candidates], steps)
    answers = [request.candidates[index].answer for index in compared]
    scores = [_aggregated(list(request.candidates[index].step_scores), how) for index in compared]
    chosen = select(answers, scores, method)
    weights = [api.AnswerWeight(answer=one.answer, weight=one.weight, votes=one.votes) for one in chosen.weights]
    left_out = sorted(set(range(len(request.candidates))) - set(compared))
    return api.SelectBestResponse(
        answer=chosen.answer, index=compared[chosen.trace], weights=weights, left_out=left_out
    )


def search(request: api.BeamSearchRequest, context: StepContext) -> api.BeamSearchResponse:
    question, generator = question_of(request.question), network(context.artifacts, request.generator)
    verifier = judge(context.artifacts, request.verifier)
    story = story_for(request.story, generator, verifier)
    beams, expansions = request.beams or DEFAULT_BEAMS, request.expansions or DEFAULT_EXPANSIONS
    proposer = NetworkProposer(
        generator,
        story,
        question,
        seed=request.seed % 2**63,
        temperature=request.temperature or 1.0,
    )
    scorer = NetworkScorer(verifier, story, question)
    (best, *_) = beam_search(
        proposer,
        scorer,
        len(story.lines),
        n=beams * expansions,
        beams=beams,
        how=Aggregation.PROD,
        cancel=context.cancel,
    )
    trace, answer = compose_trace(story, question, best.claims), _shown(best.claims[-1])
    return api.BeamSearchResponse(
        answer=answer,
        trace=trace_to_proto(trace),
        score=api.TraceScore(step_scores=best.scores, answer=answer),
        generated_steps=proposer.drawn,
    )


def judge(artifacts: ArtifactStore, reference: str) -> ProcessBeliefModel | CheckpointVerifier:
    """Loaded once; a scorer asked again while the store is away answers from memory."""
    found = _loaded(artifacts, reference)
    return found if isinstance(found, CheckpointVerifier) else ProcessBeliefModel(found)


def network(artifacts: ArtifactStore, reference: str) -> BeliefNetwork:
    """A generator, or a small verifier, likewise."""
    found = _loaded(artifacts, reference)
    assert isinstance(found, BeliefNetwork), "generators are no checkpoints"
    return found


def _loaded(artifacts: ArtifactStore, reference: str) -> BeliefNetwork | CheckpointVerifier:
    def load() -> BeliefNetwork | CheckpointVerifier:
        folder = artifacts.path(reference)
        if not (folder / CONFIG).is_file():
            return load_network(folder)
        try:
            return load_checkpoint_verifier(folder)
        except InvalidInput as error:
            raise InvalidInput("verifier", error.violations[0].description) from None

    return NETWORKS.get(reference, load)


def _aggregated(steps: list[float], how: Aggregation) -> float:
    if not steps:  # a majority looks at none
        return 0.0
    try:
        return float(aggregate(torch.tensor(steps, dtype=torch.float64), how))
    except InvalidInput as error:
        raise InvalidInput("candidates", error.message) from None


def _shown(container: str | None) -> str:
    return NULL if container is None else container
