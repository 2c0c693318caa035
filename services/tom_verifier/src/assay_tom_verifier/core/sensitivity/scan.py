"""From a model to its theory-of-mind-sensitive parameters: both sums of gradient squares, then the mask."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.windows import Windows
from assay.progress import Progress, silent
from assay_tom_verifier.core.sensitivity import compat
from assay_tom_verifier.core.sensitivity.gradient_squares import gradient_squares
from assay_tom_verifier.core.sensitivity.parameter_mask import ParameterMask, sensitive_mask
from assay_tom_verifier.core.sensitivity.samples import belief_items, belief_samples, general_samples

SAMPLES = 100
MAX_SAMPLES = 10_000


@dataclass(frozen=True)
class Scan:
    """Gradient squares by matrix over task texts and over general text; float32, or float16 where published ones.

    published: as the published code has it, defects included.
    """

    task: dict[str, Tensor]
    general: dict[str, Tensor]
    published: bool = False

    def mask(self, share: float) -> ParameterMask:
        """The theory-of-mind mask at share m of each matrix."""
        return (compat.published_mask if self.published else sensitive_mask)(self.task, self.general, share)


def scan(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    windows: Windows,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    published: bool = False,
    cancel: CancelToken,
    progress: Progress = silent,
) -> Scan:
    """Over `samples` drawn task texts and as many windows of general text, both drawn by `seed`.

    windows: of general text; the published scan reads 100 of 128 tokens. Raises what `gradient_squares` raises.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise InvalidInput("samples", f"is {samples}; give 1 to {MAX_SAMPLES}")
    general = general_samples(windows, samples, seed)
    if published:
        task = compat.published_samples(belief_items(samples, seed), tokenizer)
        return Scan(
            compat.published_squares(model, task, cancel=cancel),
            compat.published_squares(model, general, cancel=cancel),
            published=True,
        )
    task = belief_samples(samples, seed, tokenizer)
    whole = len(task) + len(general)

    def later(done: int, total: int, unit: str = "", **figures: float) -> None:
        progress(len(task) + done, total, unit, **figures)

    return Scan(
        gradient_squares(model, task, cancel=cancel, progress=progress, total=whole),
        gradient_squares(model, general, cancel=cancel, progress=later, total=whole),
    )
