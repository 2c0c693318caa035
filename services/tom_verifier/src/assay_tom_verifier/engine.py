"""The heavy work: which function does each step. Brings torch; imported only where it runs."""

from __future__ import annotations

import os

import torch

from assay_tom_verifier import (
    engine_checkup,
    engine_logic,
    engine_sensitivity,
    engine_stories,
    engine_traces,
    engine_training,
    engine_verifier,
    steps,
)

STEPS_AT_ONCE = 2

# Two steps compute side by side; more threads than cores would make each wait for the other.
torch.set_num_threads(max(1, (os.cpu_count() or 1) // STEPS_AT_ONCE))

STEPS = {
    steps.PARSE: engine_stories.parse,
    steps.SIMULATE: engine_stories.simulate,
    steps.ANSWER: engine_stories.answer,
    steps.DRAW: engine_stories.draw,
    steps.GENERATE: engine_stories.generate,
    steps.CHECK_TRACE: engine_traces.check_trace,
    steps.EVALUATE: engine_traces.evaluate,
    steps.AUDIT: engine_traces.audit,
    steps.SCORE: engine_verifier.score,
    steps.SELECT: engine_verifier.select_best,
    steps.BEAM_SEARCH: engine_verifier.search,
    steps.TRAIN_GENERATOR: engine_training.generator,
    steps.TRAIN_VERIFIER: engine_training.verifier,
    steps.MEASURE_VERIFIER: engine_training.measure,
    steps.CREATE_MODEL: engine_logic.create_model,
    steps.UPDATE_MODEL: engine_logic.update_model,
    steps.CONTRACT: engine_logic.contract,
    steps.MODEL_CHECK: engine_logic.model_check,
    steps.RESOLVE: engine_sensitivity.resolve,
    steps.SCAN: engine_sensitivity.scan_model,
    steps.PERTURB: engine_sensitivity.perturb,
    steps.ROPE: engine_sensitivity.rope,
    steps.PROBE_MODEL: engine_checkup.probe_model,
    steps.WRITE_SECTION: engine_checkup.section,
}
