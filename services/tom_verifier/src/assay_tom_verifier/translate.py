"""Between stories, beliefs and traces as the science has them and as messages have them."""

from __future__ import annotations

from collections.abc import Iterable

from assay.tom_verifier.v1 import stories_pb2 as api
from assay.tom_verifier.v1 import traces_pb2
from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Profile, Question
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Line,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.stories.grammar import composed
from assay_tom_verifier.core.stories.parse import parse_question
from assay_tom_verifier.core.traces.format import Step, Trace, parse_trace

PROFILES = {
    api.SEMANTICS_PROFILE_UNSPECIFIED: Profile.HITOM,
    api.SEMANTICS_PROFILE_HITOM: Profile.HITOM,
    api.SEMANTICS_PROFILE_COMMON_KNOWLEDGE: Profile.COMMON_KNOWLEDGE,
}


def event_to_proto(event: Event) -> api.Event:
    match event:
        case Enter(agents, place):
            return api.Event(enter=api.Enter(agents=agents, place=place))
        case Exit(agents, place):
            return api.Event(exit=api.Exit(agents=agents, place=place))
        case Locate(thing, container):
            return api.Event(locate=api.Locate(thing=thing, container=container))
        case Move(agent, thing, container):
            return api.Event(move=api.Move(agent=agent, thing=thing, container=container))
        case Stay(agent, place):
            return api.Event(stay=api.Stay(agent=agent, place=place))
        case PublicClaim(speaker, thing, container):
            return api.Event(public_claim=api.PublicClaim(speaker=speaker, thing=thing, container=container))
        case PrivateClaim(speaker, listener, thing, container):
            claim = api.PrivateClaim(speaker=speaker, listener=listener, thing=thing, container=container)
            return api.Event(private_claim=claim)
        case Noise(text):
            return api.Event(noise=api.Noise(text=text))


def line_to_proto(line: Line) -> api.StoryLine:
    return api.StoryLine(number=line.number, text=line.text, event=event_to_proto(line.event))


def story_to_proto(story: Story) -> api.Story:
    return api.Story(lines=map(line_to_proto, story.lines), agents=story.agents, things=story.things)


def belief_to_proto(belief: Belief) -> api.Belief:
    return api.Belief(container=belief.container, rule=belief.rule, line=belief.line)


def question_to_proto(question: Question) -> api.Question:
    return api.Question(thing=question.thing, chain=api.BeliefChain(agents=question.chain))


def question_of(asked: api.AskedQuestion) -> Question:
    """As asked in words or in parts. Raises InvalidInput for words that ask nothing known."""
    if asked.WhichOneof("form") == "text":
        return parse_question(asked.text)
    return Question(composed(asked.question.thing), chain_of(asked.question.chain))


def chains_of(chains: Iterable[api.BeliefChain]) -> list[Chain]:
    return list(dict.fromkeys(map(chain_of, chains)))


def chain_of(chain: api.BeliefChain) -> Chain:
    """Names in the composed form that stories are read in."""
    return tuple(map(composed, chain.agents))


def trace_of(given: traces_pb2.GivenTrace) -> Trace:
    """As text or in parts. In parts no mark in a step's text is looked at."""
    if given.WhichOneof("form") == "text":
        return parse_trace(given.text)
    steps = (Step(step.text, step.claim) if step.claim else Step.read(step.text) for step in given.trace.steps)
    return Trace(tuple(steps), given.trace.answer)


def trace_to_proto(trace: Trace) -> traces_pb2.Trace:
    steps = [traces_pb2.TraceStep(text=step.text, claim=step.claim) for step in trace.steps]
    return traces_pb2.Trace(steps=steps, answer=trace.answer)
