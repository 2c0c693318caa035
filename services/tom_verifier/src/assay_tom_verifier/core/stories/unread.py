"""A story that nobody has parsed: its sentences as they stand, for models that read words."""

from __future__ import annotations

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.events import Line, Noise, Story
from assay_tom_verifier.core.stories.grammar import composed, split_number


def unread_story(text: str) -> Story:
    """A sentence a line, numbered or not; empty lines mean nothing. What a line says is left open: none has an event
    that would change a belief, so no engine of rules may be asked about it. InvalidInput for a text without any line.
    """
    rows = [(place, row.strip()) for place, row in enumerate(composed(text).splitlines(), 1)]
    lines = []
    for place, row in rows:
        own, sentence = split_number(row)
        if sentence:
            lines.append(Line(place if own is None else own, sentence, Noise(sentence)))
    if not lines:
        raise InvalidInput("story", "is empty; give one sentence a line")
    return Story(tuple(lines))
