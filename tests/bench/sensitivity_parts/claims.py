"""The paper's claims, each held, not held, or not measurable on models of this size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay_tom_verifier.core.sensitivity.evaluate import LEAST_ANSWERED, task_scores
from assay_tom_verifier.core.sensitivity.tasks.item import Task
from bench.sensitivity_parts.masks import FALSE_BELIEF, RIVALS, Run
from bench.sensitivity_parts.rotation import Rotation

PUBLISHED_SHARE = 1e-5
# A tenth more perplexity is what "general text hardly suffers" is taken to mean.
LEAST_HARM = float(np.log(1.1))
Word = Literal["held", "not held", "not measurable here"]


@dataclass(frozen=True)
class Claim:
    claim: str
    word: Word
    why: str


def judged(run: Run, share: float, rotation: Rotation, twin: Run, twin_share: float | None) -> list[Claim]:
    """share: of the masks that claims are judged at; twin_share: that of the model without rotation, None for none."""
    claims = [_published_size(run, share)]
    if not all(standing.conclusive for standing in run.standings):
        return [*claims, Claim("all others", "not measurable here", run.standings[0].shown())]
    claims += [_drop(run, share), *(_beats(run, share, rival) for rival in RIVALS), _text(run, share)]
    claims += [_probe(run, share, "localisation"), _probe(run, share, "language"), _probe(run, share, "irony")]
    claims.append(_particular(run, share, twin, twin_share))
    claims.append(_frequencies(rotation))
    for name, what in (
        ("first_angle", "the angle of queries to the first token's key"),
        ("first_attention", "attention to the first token"),
    ):
        claims.append(_more_than_random(rotation, name, f"perturbation changes {what}"))
    return claims


def _published_size(run: Run, share: float) -> Claim:
    largest = max(each.parameters for each in run.seeds[0].masks[share, "tom"].matrices.values())
    return Claim(
        "0.001 % of the parameters carry theory of mind",
        "not measurable here",
        f"of {largest} weights, the largest matrix, that is {PUBLISHED_SHARE * largest:.2f}; masks of 50 weights or "
        f"more begin at {100 * run.shares[0]:g} % here; what follows is at {100 * share:g} %",
    )


def _drop(run: Run, share: float) -> Claim:
    found = run.drop(share, "tom", FALSE_BELIEF)
    return Claim("perturbing them lowers theory of mind", _word(found.high < 0), _points(found))


def _beats(run: Run, share: float, rival: str) -> Claim:
    found = run.drop(share, "tom", FALSE_BELIEF, rival)
    return Claim(f"more than {rival} weights of equal count do", _word(found.high < 0), _points(found))


def _text(run: Run, share: float) -> Claim:
    claim = "general text hardly suffers meanwhile (under a tenth more perplexity)"
    found = run.nats(share, "tom")
    why = f"perplexity x {np.exp(found.mean):.3f} [{np.exp(found.low):.3f}, {np.exp(found.high):.3f}]"
    if run.drop(share, "tom", FALSE_BELIEF).high >= 0:
        return Claim(claim, "not measurable here", f"theory of mind does not drop either; {why}")
    return Claim(claim, _word(found.high < LEAST_HARM), why)


def _probe(run: Run, share: float, task: Task) -> Claim:
    claim = f"{task} suffers more than under random weights"
    before = task_scores(run.seeds[0].items, run.seeds[0].before.answers)[task]
    if before < LEAST_ANSWERED:
        return Claim(claim, "not measurable here", f"unperturbed it passes {100 * before:.0f} % of the cells")
    found = run.drop(share, "tom", [task], "random")
    return Claim(claim, _word(found.high < 0), _points(found))


def _particular(run: Run, share: float, twin: Run, twin_share: float | None) -> Claim:
    claim = "the link is particular to models with rotary encoding"
    if twin_share is None or not all(standing.conclusive for standing in twin.standings):
        return Claim(claim, "not measurable here", f"the twin without it: {twin.standings[0].shown()}")
    ours, theirs = (each.drop(at, "tom", FALSE_BELIEF, "random") for each, at in ((run, share), (twin, twin_share)))
    why = f"against random: with {_points(ours)}; without, at {100 * twin_share:g} %, {_points(theirs)}"
    return Claim(claim, _word(ours.high < theirs.low), why)


def _frequencies(rotation: Rotation) -> Claim:
    tom, random, larger = rotation.larger("dominant_norm")
    other, _, _ = rotation.larger("other_norm")
    why = (
        f"query norm there changes by {100 * np.mean(tom):.1f} %, at other pairs {100 * np.mean(other):.1f} %, under "
        f"random weights {100 * np.mean(random):.1f} %; larger than random in {larger} of {len(tom)} seeds"
    )
    held = larger == len(tom) and all(a > b for a, b in zip(tom, other, strict=True))
    return Claim("perturbation disrupts dominant frequencies, more than others", _word(held), why)


def _more_than_random(rotation: Rotation, name: str, claim: str) -> Claim:
    tom, random, larger = rotation.larger(name)
    why = f"{np.mean(tom):+.4f} against {np.mean(random):+.4f} under random weights; larger in {larger} of {len(tom)}"
    return Claim(f"{claim}, more than random weights do", _word(larger == len(tom)), why)


def _word(held: bool) -> Word:
    return "held" if held else "not held"


def _points(found: object) -> str:
    mean, low, high = (100 * getattr(found, name) for name in ("mean", "low", "high"))
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
