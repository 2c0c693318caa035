"""What masks do to rotary frequencies, to angles and to the first token's attention, beside random masks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from assay_tom_verifier.core.sensitivity.answers import encoded
from assay_tom_verifier.core.sensitivity.perturb import perturbed
from assay_tom_verifier.core.sensitivity.rope import RopeAnalysis, RopeChange, analyze_rope, rope_change
from bench.sensitivity_parts.masks import Run
from bench.sensitivity_parts.trained import CANCEL

TEXTS = 32


@dataclass(frozen=True)
class Rotation:
    """before: of the first seed's texts. changes: by kind of mask, one a seed. heat: query norms by state."""

    before: RopeAnalysis
    changes: dict[str, list[RopeChange]]
    heat: dict[str, list[list[list[float]]]]

    def larger(self, name: str) -> tuple[list[float], list[float], int]:
        """(under the mask, under random ones, seeds in which the first is larger in size)."""
        tom, random = ([getattr(each, name) for each in self.changes[kind]] for kind in ("tom", "random"))
        return tom, random, sum(abs(a) > abs(b) for a, b in zip(tom, random, strict=True))


def run_rotation(run: Run, share: float) -> Rotation:
    model, tokenizer = run.subject.model, run.subject.tokenizer
    changes: dict[str, list[RopeChange]] = {"tom": [], "random": []}
    heat: dict[str, list[list[list[float]]]] = {}
    first: RopeAnalysis | None = None
    for each in run.seeds:
        beliefs = [item for item in each.items if item.asks == "belief"]
        texts = [encoded(item.prompt, tokenizer) for item in beliefs[:: len(beliefs) // TEXTS][:TEXTS]]
        before = analyze_rope(model, texts, cancel=CANCEL)
        for kind, found in changes.items():
            with perturbed(model, each.masks[share, kind]):
                after = analyze_rope(model, texts, cancel=CANCEL)
            found.append(rope_change(before, after))
            if first is None:
                heat[kind] = np.round(after.query_norms, 4).tolist()
        if first is None:
            first = before
            heat["before"] = np.round(before.query_norms, 4).tolist()
    assert first is not None
    return Rotation(first, changes, heat)


def rows(rotation: Rotation) -> list[list[str]]:
    """A line a figure: mean [least, most] over seeds under the mask and under random ones."""
    shown = []
    for each in fields(RopeChange):
        tom, random, larger = rotation.larger(each.name)
        shown.append([each.name, _over(tom), _over(random), f"{larger} of {len(tom)}"])
    return shown


def _over(values: list[float]) -> str:
    return f"{np.mean(values):.4f} [{min(values):.4f}, {max(values):.4f}]"
