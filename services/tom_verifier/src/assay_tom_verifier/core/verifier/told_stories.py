"""Generated stories told in words that a parser need not know, for models that read."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from assay_tom_verifier.core.stories.generate import GeneratedStory
from assay_tom_verifier.core.stories.grammar import write_sentence
from assay_tom_verifier.core.stories.paraphrase import paraphrase
from assay_tom_verifier.core.stories.scene import WAITING_ROOM
from assay_tom_verifier.core.stories.unread import unread_story
from assay_tom_verifier.core.verifier.encode import EncodedQuestion
from assay_tom_verifier.core.verifier.streams import StorySource
from assay_tom_verifier.core.verifier.words import PUBLISHED, ToldStory, encode_told

# In training every second story is read with a share of its words unknown: a reader that has always known every word
# cannot tell what a line says from the lines around it.
_MOST_UNKNOWN = 0.6


@dataclass(frozen=True)
class ToldSource(StorySource):
    """The same stories and questions, each line in the words of one of `grammars`, drawn for it.

    vocabulary: words that the reader knows. in_training: also, a story keeps to some of the grammars, and words are
    unknown at times.
    """

    grammars: tuple[int, ...] = (PUBLISHED,)
    vocabulary: tuple[str, ...] = ()

    def tell(self, made: GeneratedStory) -> str:
        """The text of one of the source's stories, a sentence a line."""
        draw = self._draw(made.index)
        grammars = (
            draw.sample(self.grammars, draw.randint(1, len(self.grammars))) if self.in_training else self.grammars
        )
        return "\n".join(
            write_sentence(line.event) if grammar == PUBLISHED else paraphrase(line.event, grammar)
            for line in made.story.lines
            for grammar in (draw.choice(grammars),)
        )

    def encoded(self, made: GeneratedStory) -> list[EncodedQuestion]:
        told = ToldStory.of(unread_story(self.tell(made)))
        numbers = np.random.default_rng((self.seed, made.index)) if self.in_training else None
        return [
            encode_told(told, each.question, self.vocabulary, self._unknown(made.index, order), numbers)
            for order, each in enumerate(made.questions)
        ]

    def _unknown(self, *key: int) -> frozenset[str]:
        draw = self._draw(*key)
        if not self.in_training or draw.random() < 0.5:
            return frozenset()
        share = draw.random() * _MOST_UNKNOWN
        return frozenset(word for word in self.vocabulary if word != WAITING_ROOM and draw.random() < share)

    def _draw(self, *key: int) -> random.Random:
        return random.Random(f"told/{self.seed}/{key}")
