"""Traces from the platform's language-model port: a checkpoint at hand, or one that inference-optimizer runs."""

from __future__ import annotations

from collections.abc import Iterator

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.language_model import FinishReason, LanguageModel
from assay_tom_verifier.core.traces.prompt import STOP
from assay_tom_verifier.core.traces.writer import Draft, Sampling
from assay_tom_verifier.generators.seeds import batch_seed

AT_ONCE = 16  # decoded together


class ModelWriter:
    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def write(self, prompt: str, count: int, sampling: Sampling, cancel: CancelToken) -> Iterator[Draft]:
        """As the port has it; InvalidInput names the story where the model's context cannot hold it."""
        for first in range(0, count, AT_ONCE):
            try:
                written = self._model.generate(
                    [prompt] * min(AT_ONCE, count - first),
                    max_new_tokens=sampling.max_tokens,
                    temperature=sampling.temperature,
                    seed=batch_seed(sampling.seed, first),
                    stop=STOP,
                    cancel=cancel,
                )
            except InvalidInput as error:
                if not error.violations[0].field.startswith("prompts["):
                    raise
                raise InvalidInput("story", f"asked for a trace, {error.violations[0].description}") from None
            yield from (Draft(one.text, one.finish_reason is FinishReason.LENGTH) for one in written)
