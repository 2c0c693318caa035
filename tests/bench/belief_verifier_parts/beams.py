"""Beam search against best-of-N of as many generated steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay_tom_verifier.core.verifier.aggregate import Aggregation
from assay_tom_verifier.core.verifier.beam_search import beam_search
from assay_tom_verifier.core.verifier.bootstrap import Interval, clustered_mean
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.network_search import NetworkProposer, NetworkScorer
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel
from assay_tom_verifier.core.verifier.streams import StorySource
from bench.belief_verifier_parts.answers import points
from bench.belief_verifier_parts.curve import BEST, ORACLE, Curve
from bench.moe_parts.tables import show

# Traces alive and beams kept of them: one beam is greedy, half as many as traces all but keeps every one.
SHAPES = ((4, 2), (16, 1), (16, 4), (16, 8), (64, 8), (64, 32))


@dataclass(frozen=True)
class Beams:
    """n claims are drawn a step, n / beams a beam: the steps of best-of-n. best_of: its accuracy; over: the paired
    difference to it, by story.
    """

    n: int
    beams: int
    questions: int
    accuracy: Interval
    best_of: float
    oracle: float
    over: Interval


def measure_beams(
    generator: BeliefNetwork,
    verifier: ProcessBeliefModel,
    source: StorySource,
    stories: int,
    beside: Curve,
    how: Aggregation,
    seed: int,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> list[Beams]:
    """beside: of the same stories' questions."""
    made = [source.story(index) for index in range(stories)]
    asked = [(index, each.story, question) for index, each in enumerate(made) for question in each.questions]
    clusters = torch.tensor([index for index, _, _ in asked]).numpy()
    rows = []
    for n, beams in shapes:
        right = []
        for number, (_, story, question) in enumerate(asked):
            proposer = NetworkProposer(generator, story, question.question, seed=seed * 10**6 + number)
            scorer = NetworkScorer(verifier, story, question.question)
            kept = beam_search(proposer, scorer, len(story.lines), n=n, beams=beams, how=how, cancel=CancelToken())
            right.append(float(kept[0].claims[-1] == question.answer.container))
        ours: Tensor = torch.tensor(right, dtype=torch.float64)
        single_best = beside.at(BEST, n)
        rows.append(
            Beams(
                n,
                beams,
                len(ours),
                clustered_mean(ours.numpy(), clusters),
                float(single_best.mean()),
                float(beside.at(ORACLE, n).mean()),
                clustered_mean((ours - single_best).numpy(), clusters),
            )
        )
    return rows


def print_beams(rows: Sequence[Beams]) -> None:
    show(
        f"Beam search against best-of-N at equal generated steps: {rows[0].questions} questions, % right",
        ("N", "beams", "claims a beam", "beam search", "best of N", "oracle of N", "over best of N, points"),
        [
            (str(row.n), str(row.beams), str(row.n // row.beams), f"{100 * row.accuracy.mean:.1f}",
             f"{100 * row.best_of:.1f}", f"{100 * row.oracle:.1f}", points(row.over))
            for row in rows
        ],
    )  # fmt: skip
