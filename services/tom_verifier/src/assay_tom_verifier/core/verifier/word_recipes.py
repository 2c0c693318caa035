"""Recipes of generators and verifiers that read words, for stories that the parser refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay_tom_verifier.core.stories.paraphrase import GRAMMARS
from assay_tom_verifier.core.verifier.line_reader import new_word_network
from assay_tom_verifier.core.verifier.network import BeliefNetwork, NetworkShape
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.streams import StorySource
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.train import GeneratorRecipe, VerifierRecipe
from assay_tom_verifier.core.verifier.words import PUBLISHED, words_of

EVERY_GRAMMAR = (PUBLISHED, *range(GRAMMARS))


@dataclass(frozen=True)
class WordGeneratorRecipe(GeneratorRecipe):
    """grammars: of the sentences that its stories are told in; its vocabulary is their words."""

    grammars: tuple[int, ...] = EVERY_GRAMMAR

    def untrained(self, seed: int) -> BeliefNetwork:
        return new_word_network(self.shape, words_of(self.grammars), seed)

    def stories(self, seed: int) -> StorySource:
        known = words_of(self.grammars)
        return ToldSource(seed, self.length, self.profile, in_training=True, grammars=self.grammars, vocabulary=known)


@dataclass(frozen=True)
class WordVerifierRecipe(VerifierRecipe):
    """Words take longer to read than parsed lines, and no longer to judge."""

    reading: Schedule = field(default_factory=lambda: Schedule(steps=800, batch=32, learning_rate=2e-3))
    judging: Schedule = field(default_factory=lambda: Schedule(steps=2500, batch=32, learning_rate=1e-3))
    grammars: tuple[int, ...] = EVERY_GRAMMAR

    def reader(self) -> GeneratorRecipe:
        return WordGeneratorRecipe("reading", self.shape, self.reading, self.length, self.profile, self.grammars)


# Left where its answers are right about half of the time, as those that take parsed lines are.
WORD_GENERATOR = WordGeneratorRecipe("words", NetworkShape(width=64, layers=3, heads=4), Schedule(100, 32, 2e-3))
