"""How a story reaches those who read it: parsed, or, where all of them read words, as it is written."""

from __future__ import annotations

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.unread import unread_story
from assay_tom_verifier.core.verifier.line_reader import WordNetwork
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel
from assay_tom_verifier.core.verifier.written_traces import containers_of


def story_for(text: str, *readers: object) -> Story:
    """readers: the networks and verifiers that are to be asked. What `parse_story` raises, unless all read words."""
    return unread_story(text) if all(map(_reads_words, readers)) else parse_story(text).story


def containers_for(reader: object, story: Story, question: Question) -> tuple[str, ...]:
    """What a trace's claims may name, as the story spells it. To a reader of words: what is written like a name in
    lines about the asked object.
    """
    network = _network(reader)
    if isinstance(network, WordNetwork):
        return tuple(network.encode(story, question).labels.containers)
    return containers_of(story)


def _reads_words(reader: object) -> bool:
    return isinstance(_network(reader), WordNetwork)


def _network(reader: object) -> object:
    return reader.network if isinstance(reader, ProcessBeliefModel) else reader
