"""The heavy work: which function does each step. Brings torch; imported only where it runs."""

from __future__ import annotations

from assay_tom_verifier import engine_stories, steps

STEPS = {
    steps.PARSE: engine_stories.parse,
    steps.SIMULATE: engine_stories.simulate,
    steps.ANSWER: engine_stories.answer,
    steps.DRAW: engine_stories.draw,
    steps.GENERATE: engine_stories.generate,
}
