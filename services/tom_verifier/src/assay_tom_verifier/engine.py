"""The heavy work: which function does each step; imported only where it runs.

What needs torch or matplotlib is imported when its first step comes: a question about a story waits for neither.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from typing import Any

from assay.engine.step import StepContext, StepFunction
from assay_tom_verifier import engine_asking, engine_logic, engine_stories, engine_traces, steps

STEPS_AT_ONCE = 2
# transformers, imported by two threads at once, lacks names in one.
_ONE_IMPORT_AT_A_TIME = threading.Lock()

for _package in ("torch", "matplotlib"):
    if importlib.util.find_spec(_package) is None:  # said now, and not by the first step that needs it
        raise ModuleNotFoundError(f"No module named {_package!r}", name=_package)


def _later(module: str, name: str) -> StepFunction:
    """A function of one of this package's modules that computes with torch, imported when it is called."""

    def run(request: Any, context: StepContext) -> Any:
        with _ONE_IMPORT_AT_A_TIME:
            import torch

            # Two steps compute side by side; more threads than cores would make each wait for the other.
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // STEPS_AT_ONCE))
            function = getattr(importlib.import_module(f"assay_tom_verifier.{module}"), name)
        return function(request, context)

    return run


STEPS = {
    steps.PARSE: engine_stories.parse,
    steps.SIMULATE: engine_stories.simulate,
    steps.ANSWER: engine_stories.answer,
    steps.DRAW: _later("engine_drawing", "draw"),
    steps.GENERATE: engine_stories.generate,
    steps.CHECK_TRACE: engine_traces.check_trace,
    steps.EVALUATE: engine_traces.evaluate,
    steps.AUDIT: engine_traces.audit,
    steps.SAMPLE: _later("engine_sampling", "sample"),
    steps.SAMPLE_ELSEWHERE: engine_asking.ask_elsewhere,
    steps.SCORE: _later("engine_verifier", "score"),
    steps.SELECT: _later("engine_verifier", "select_best"),
    steps.BEAM_SEARCH: _later("engine_verifier", "search"),
    steps.TRAIN_GENERATOR: _later("engine_training", "generator"),
    steps.TRAIN_VERIFIER: _later("engine_training", "verifier"),
    steps.MEASURE_VERIFIER: _later("engine_training", "measure"),
    steps.CREATE_MODEL: engine_logic.create_model,
    steps.UPDATE_MODEL: engine_logic.update_model,
    steps.CONTRACT: engine_logic.contract,
    steps.MODEL_CHECK: engine_logic.model_check,
    steps.RESOLVE: _later("engine_sensitivity", "resolve"),
    steps.SCAN: _later("engine_sensitivity", "scan_model"),
    steps.PERTURB: _later("engine_sensitivity", "perturb"),
    steps.ROPE: _later("engine_sensitivity", "rope"),
    steps.PROBE_MODEL: _later("engine_checkup", "probe_model"),
    steps.WRITE_SECTION: _later("engine_checkup", "section"),
}
