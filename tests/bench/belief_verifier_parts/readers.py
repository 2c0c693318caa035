"""Generators and verifiers that read words, trained on all grammars of sentences but one, and kept in a folder."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.word_recipes import EVERY_GRAMMAR, WORD_GENERATOR, WordVerifierRecipe
from assay_tom_verifier.core.verifier.words import words_of
from bench.belief_verifier_parts.subjects import GENERATOR_SEED, HELD_OUT_SEED, LONGER_SEED, Subjects

LONGER_STEPS = 800  # a quarter of what the verifier is given


class Readers(Subjects):
    """A generator and a verifier to which the sentences of the grammar `left_out` are foreign."""

    def __init__(self, folder: Path, left_out: int, seed: int) -> None:
        super().__init__(folder, seed)
        self.left_out = left_out
        self.grammars = tuple(grammar for grammar in EVERY_GRAMMAR if grammar != left_out)

    @cached_property
    def generators(self) -> dict[str, BeliefNetwork]:
        recipe = replace(WORD_GENERATOR, grammars=self.grammars)
        return {recipe.name: self._generator(f"words-generator-without-{self.left_out}", recipe, GENERATOR_SEED)}

    @cached_property
    def longer(self) -> BeliefNetwork:
        """The same generator, not left early."""
        schedule = replace(WORD_GENERATOR.schedule, steps=LONGER_STEPS)
        recipe = replace(WORD_GENERATOR, grammars=self.grammars, schedule=schedule)
        return self._generator(f"words-longer-without-{self.left_out}", recipe, LONGER_SEED)

    @cached_property
    def verifier(self) -> ProcessBeliefModel:
        return self._verifier(f"words-verifier-without-{self.left_out}", WordVerifierRecipe(grammars=self.grammars))

    @property
    def generator(self) -> BeliefNetwork:
        (only,) = self.generators.values()
        return only

    def told(self, *grammars: int) -> ToldSource:
        """Stories that no training has met, told in these grammars' sentences."""
        return ToldSource(HELD_OUT_SEED + self._seed, grammars=grammars, vocabulary=words_of(self.grammars))
