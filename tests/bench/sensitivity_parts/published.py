"""What the published code's defects come to on the same model, texts and share."""

from __future__ import annotations

from dataclasses import dataclass

from assay_tom_verifier.core.sensitivity.evaluate import measure, tom_score
from assay_tom_verifier.core.sensitivity.scan import scan
from bench.sensitivity_parts.masks import Run
from bench.sensitivity_parts.trained import CANCEL


@dataclass(frozen=True)
class Published:
    """Of the first seed. lost: share of the weights with a gradient square that float16 sums hold as 0.

    masked, common: weights of the published mask, and those that the exact one holds too. before, after, exact_after:
    mean share of false-belief cells passed, unperturbed and under either mask.
    """

    lost: float
    masked: int
    exact_masked: int
    common: int
    before: float
    after: float
    exact_after: float


def run_published(run: Run, share: float) -> Published:
    first, subject = run.seeds[0], run.subject
    found = scan(subject.model, subject.tokenizer, subject.scanned, seed=0, published=True, cancel=CANCEL)
    mask, exact = found.mask(share), first.masks[share, "tom"]
    alive = sum(int((values > 0).sum()) for values in first.scan.general.values())
    kept = sum(int(((found.general[name] > 0) & (values > 0)).sum()) for name, values in first.scan.general.items())
    common = sum(
        len(set(matrix.indices.tolist()) & set(exact.matrices[name].indices.tolist()))
        for name, matrix in mask.matrices.items()
    )
    after = measure(subject.model, first.asked, subject.test, mask=mask, cancel=CANCEL)
    scores = [tom_score(first.items, state.answers) for state in (first.before, after, first.after[share, "tom"])]
    return Published(1 - kept / alive, mask.masked, exact.masked, common, *scores)
