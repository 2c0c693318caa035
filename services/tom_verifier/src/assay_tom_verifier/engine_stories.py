"""Steps about stories: read, simulated, asked about and generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.engine.step import StepContext
from assay.errors import InvalidInput, OutOfRange, ResourceExhausted
from assay.tom_verifier.v1 import stories_pb2 as api
from assay_tom_verifier.core.audit import derive
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Profile
from assay_tom_verifier.core.stories.chains import all_chains
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.grammar import composed
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.tables import TableEngine
from assay_tom_verifier.translate import (
    PROFILES,
    belief_to_proto,
    chains_of,
    line_to_proto,
    question_of,
    question_to_proto,
    story_to_proto,
)

MAX_BELIEFS = 2_000_000  # lines times chains times objects of one call
MESSAGE_BYTES = 2**20  # of beliefs, after which the line goes on in another message
CHAINS_AT_ONCE = 64  # between two looks at whether the caller still waits
DEFAULT_NOISE = 0.1


def parse(request: api.ParseStoryRequest, context: StepContext) -> api.ParseStoryResponse:
    parsed = parse_story(request.story, strict=not request.lenient, cancel=context.cancel)
    refused = [api.RefusedLine(number=one.number, text=one.text, reason=one.reason) for one in parsed.refused]
    return api.ParseStoryResponse(story=story_to_proto(parsed.story), refused=refused)


def simulate(request: api.SimulateRequest, context: StepContext) -> Iterator[api.SimulateResponse]:
    story = parse_story(request.story, cancel=context.cancel).story
    things = list(dict.fromkeys(map(composed, request.things))) or list(story.things)
    if not things:
        raise InvalidInput("story", "says of no object where it is; there is nothing to believe")
    chains = chains_of(request.chains) or every_chain(story, request.max_order, len(things))
    _check_amount(story, len(chains) * len(things))
    believed = {
        thing: believe(story, chains, thing, PROFILES[request.profile], request.engine, context) for thing in things
    }
    for index, line in enumerate(story.lines):
        step, size = api.SimulatedStep(line=line_to_proto(line)), 0
        for thing in things:
            for chain in chains:
                if size > MESSAGE_BYTES:
                    yield api.SimulateResponse(step=step)
                    step, size = api.SimulatedStep(), 0
                added = step.beliefs.add(
                    thing=thing,
                    chain=api.BeliefChain(agents=chain),
                    belief=belief_to_proto(believed[thing][index][chain]),
                )
                size += added.ByteSize()
        yield api.SimulateResponse(step=step)


def answer(request: api.AnswerQuestionRequest, context: StepContext) -> api.AnswerQuestionResponse:
    story, question = parse_story(request.story, cancel=context.cancel).story, question_of(request.question)
    last = len(story.lines) - 1
    index = request.step_index if request.HasField("step_index") else last
    if not 0 <= index <= last:
        raise OutOfRange(f"step_index: is {index}; the story's lines are counted 0 to {last}")
    profile = PROFILES[request.profile]
    steps = believe(story, [question.chain], question.thing, profile, request.engine, context)
    beliefs = [step[question.chain] for step in steps[: index + 1]]
    return api.AnswerQuestionResponse(
        belief=belief_to_proto(beliefs[-1]),
        question=question_to_proto(question),
        derivation=map(belief_to_proto, derive(beliefs)),
    )


def generate(request: api.GenerateStoriesRequest, context: StepContext) -> Iterator[api.GenerateStoriesResponse]:
    stories = generate_stories(
        request.count,
        request.seed,
        length=request.length or 1,
        claims=request.claims,
        noise=request.noise if request.HasField("noise") else DEFAULT_NOISE,
        profile=PROFILES[request.profile],
    )
    for story in stories:
        context.cancel.check()
        reply = api.GeneratedStory(index=story.index, text=story.text)
        for asked in story.questions:
            reply.questions.add(
                text=asked.text, question=question_to_proto(asked.question), answer=belief_to_proto(asked.answer)
            )
        yield api.GenerateStoriesResponse(story=reply)


def believe(
    story: Story,
    chains: Sequence[Chain],
    thing: str,
    profile: Profile,
    engine: api.BeliefEngine,
    context: StepContext,
) -> list[dict[Chain, Belief]]:
    """What each chain believes after each line, by the engine asked for; stops soon after the caller does."""
    if engine == api.BELIEF_ENGINE_DEL:
        return DelEngine(ExplicitEngine(cancel=context.cancel)).believe(story, chains, thing, profile)
    merged: list[dict[Chain, Belief]] = [{} for _ in story.lines]
    for first in range(0, len(chains), CHAINS_AT_ONCE):
        context.cancel.check()
        part = TableEngine().believe(story, chains[first : first + CHAINS_AT_ONCE], thing, profile, context.cancel)
        for whole, some in zip(merged, part, strict=True):
            whole.update(some)
    return merged


def every_chain(story: Story, order: int, things: int) -> list[Chain]:
    """Every chain up to `order`, unless there are too many to list."""
    agents = len(story.agents)
    count = sum(agents * max(0, agents - 1) ** (length - 1) for length in range(1, order + 1)) + 1
    _check_amount(story, count * things)
    return all_chains(story.agents, order)


def _check_amount(story: Story, chains: int) -> None:
    if (amount := len(story.lines) * chains) > MAX_BELIEFS:
        raise ResourceExhausted(
            f"chains: {amount:,} beliefs over the whole story, {MAX_BELIEFS:,} at most; name the chains and objects "
            "that you need",
            reason="TOO_MANY_BELIEFS",
        )
