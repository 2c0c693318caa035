"""Does a process belief model choose better among traces than counting heads, and does it know where one goes wrong?

    PYTHONPATH=tests python -m bench.belief_verifier [--models DIR] [--rows hitom_dev.jsonl] [--out FILE]

Trains generators of three scales, each left where it errs, a verifier on fresh traces of theirs, and what it must be
held against at equal arithmetic: verifiers of other labels and a generator. Then generators and a verifier of each
further seed: some 25 minutes of one core in all, kept in --models and taken up again from there. Then judges traces
that no training has met, of stories that none has. Beside --out goes the picture of accuracy against N.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay_tom_verifier.core.verifier.aggregate import Aggregation
from assay_tom_verifier.core.verifier.bootstrap import Interval
from assay_tom_verifier.core.verifier.costs import votes_at_equal_cost
from assay_tom_verifier.core.verifier.questions import Questions
from assay_tom_verifier.core.verifier.select import Selection
from assay_tom_verifier.core.verifier.streams import StorySource
from bench.belief_verifier_parts.answers import Answers, best_way, measure, print_answers, rivals
from bench.belief_verifier_parts.beams import measure_beams, print_beams
from bench.belief_verifier_parts.calibrated import calibration, fitted, print_calibration
from bench.belief_verifier_parts.curve import curve, picture, print_curve
from bench.belief_verifier_parts.judged import Traces, fresh, print_steps, step_quality
from bench.belief_verifier_parts.passes import measure_passes, print_passes
from bench.belief_verifier_parts.published import published
from bench.belief_verifier_parts.seeds import print_spread, spread
from bench.belief_verifier_parts.subjects import HELD_OUT_SEED, Subjects
from bench.moe_balance import surroundings
from bench.moe_parts.tables import document, show, verdict

N = 16
HEADLINE = "medium"
# DEL-ToM's plainest: the answer of the trace with the best last score, which is of the whole trace.
WAY = (Aggregation.LAST, Selection.VANILLA)
FITTING_SEED = HELD_OUT_SEED + 10**6
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def main(models: Path, rows: Path | None, seeds: int, stories: int, out: Path | None) -> bool:
    """Prints the tables; says whether every bar was met. All but the spread over seeds is of seed 0."""
    torch.set_num_threads(1)
    begun, used = time.monotonic(), time.process_time()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    who = Subjects(models, 0)
    found = {**scales(who, 0, stories), **headline(who, rows, stories), **many(who, stories)}
    found["passes"] = measure_passes(who.verifier)
    print_passes(found["passes"])
    found["models"] = who.facts
    print_subjects(who)
    bars = {
        **step_bars(found["steps"], who),
        **answer_bars(found["answers"]),
        "labels_shuffled_gain_nothing_met": gain(found["rivals"], "verifier, labels shuffled").low <= 0,
        "one_pass_met": all(row.ratio[0] >= 8 for row in found["passes"]),
    }
    print()
    for bar, met in bars.items():
        print(f"{bar}: {verdict(met)}")
    by_seed = [found["answers"]]
    while True:
        found["seeds"], found["further_seeds"] = spread(by_seed), by_seed[1:]
        print_spread(found["seeds"])
        where["minutes"] = round((time.monotonic() - begun) / 60, 1)
        where["cpu_minutes"] = round((time.process_time() - used) / 60, 1)
        print(f"{where['minutes']} minutes, {where['cpu_minutes']} of CPU, without what was trained before", flush=True)
        if out is not None:
            write(out, {"bench": "belief_verifier", **where, **bars, **found})
        if len(by_seed) >= seeds:
            return all(bars.values())
        by_seed.append(scales(Subjects(models, len(by_seed)), len(by_seed), stories)["answers"])


def write(out: Path, found: dict[str, Any]) -> None:
    """Anew after each seed, so that a run that is cut off leaves what it had."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document(found), sort_keys=True, separators=(",", ":")) + "\n")
    out.with_name(f"{out.stem}-accuracy.svg").write_bytes(picture(found["curve"]))


def scales(who: Subjects, seed: int, stories: int) -> dict[str, Any]:
    """Steps and answers of each generator: the headline's on all stories, the others' on a fifth of them."""
    fitting = StorySource(FITTING_SEED + seed).questions(0, max(8, stories // 8))
    steps, answers = [], []
    for index, (name, generator) in enumerate(who.generators.items()):
        other = fresh(generator, fitting, N, seed=10 * index + 1)
        way = best_way(judge(who, other), other)
        asked = held_out_stories(seed, stories if name == HEADLINE else max(4, stories // 5))
        traces = fresh(generator, asked, N, seed=10 * index + 2)
        scores = judge(who, traces)
        steps += step_quality(name, scores, traces, other)
        answers.append(measure(name, scores, traces, way, 10 * index + 3))
        print_answers(f"Best of {N}: generator {name}, {len(asked):,} held-out questions", answers[-1])
    print_steps("Right steps told from wrong, on fresh traces of held-out stories", steps)
    return {"steps": steps, "answers": answers}


def headline(who: Subjects, rows: Path | None, stories: int) -> dict[str, Any]:
    """The headline's generator on longer stories, published ones, and beside all rivals."""
    generator, further = who.generators[HEADLINE], []
    for length in (2, 3):
        traces = fresh(generator, held_out_stories(0, max(4, stories // 6), length), N, seed=100 + length)
        further.append(measure(f"{HEADLINE}, length {length}", judge(who, traces), traces, WAY, length))
        print_answers(f"Trained on one chapter, tested on {length}: {len(traces.questions):,} questions", further[-1])
    for length in (1, 2) if rows is not None else ():
        questions, right = published(rows, length)
        traces = fresh(generator, questions, N, seed=200 + length, right=right)
        further.append(measure(f"Hi-ToM, length {length}", judge(who, traces), traces, WAY, length))
        print_answers(f"Hi-ToM's published questions of length {length}: {len(questions)}", further[-1])
    traces = fresh(generator, held_out_stories(0, max(4, stories // 2)), N, seed=400)
    votes = votes_at_equal_cost(generator, who.verifier.network, N)
    beside = measure(HEADLINE, judge(who, traces), traces, WAY, 5, rivals(generator, who, traces, WAY, votes, seed=401))
    print_answers(f"Beside all rivals: generator {HEADLINE}, {len(traces.questions):,} held-out questions", beside)
    return {"further": further, "rivals": beside, **probabilities(who, stories)}


def probabilities(who: Subjects, stories: int) -> dict[str, Any]:
    """Whether scores are probabilities on one chapter and on more, before and after one temperature, which is fitted on
    stories that are measured nowhere: of one chapter, all that training has met, or of as many chapters as are tested,
    which takes labels of those.
    """
    generator, found, longer, fit = who.generators[HEADLINE], [], [], {}
    count = max(4, stories // 6)
    for length in (1, 2, 3):
        fitting = StorySource(FITTING_SEED, length).questions(10**6, count)
        other = fresh(generator, fitting, N, seed=500 + length)
        fit[length] = fitted(judge(who, other), other)
        traces = fresh(generator, held_out_stories(0, count, length), N, seed=600 + length)
        scores = judge(who, traces)
        longer += step_quality(f"{HEADLINE}, length {length}", scores, traces, other)
        remedies = {"none": 1.0, "fitted on one chapter": fit[1]}
        if length > 1:
            remedies[f"fitted on {length} chapters"] = fit[length]
        found += [calibration(length, name, heat, scores, traces) for name, heat in remedies.items()]
    print_steps("Steps of longer stories, verifier trained on one chapter", longer)
    print_calibration(found)
    return {"longer_steps": longer, "calibration": found}


def many(who: Subjects, stories: int) -> dict[str, Any]:
    """Many traces, and searches by beams of the same stories."""
    generator, count = who.generators[HEADLINE], max(2, stories // 10)
    traces = fresh(generator, held_out_stories(0, count), COUNTS[-1], seed=300)
    found = curve(HEADLINE, judge(who, traces), traces, WAY[0], COUNTS, base=N)
    print_curve(found)
    beams = measure_beams(generator, who.verifier, StorySource(HELD_OUT_SEED), count, found, WAY[0], seed=700)
    print_beams(beams)
    return {"curve": found, "beams": beams}


def judge(who: Subjects, traces: Traces) -> Tensor:
    return who.verifier.score(traces.questions, traces.claims)


def step_bars(rows: list[Any], who: Subjects) -> dict[str, bool]:
    own = [row for row in rows if row.judge == "verifier"]
    return {
        "auc_at_first_error_met": all(row.at_first_error >= 0.90 for row in own),
        "brier_skill_met": all(row.skill >= 0.5 for row in own),
        "recipe_within_10_cpu_minutes_met": (who.facts["verifier"]["cpu_s"] or float("inf")) <= 600,
    }


def answer_bars(found: list[Answers]) -> dict[str, bool]:
    bars = {}
    for answers in found:
        by_name = {each.name: each for each in answers.methods}
        ours, dealt = by_name["verifier"], by_name["verifier's scores shuffled"]
        # Dealt anew, scores choose a trace at random, or weigh votes at random: what is left is one trace or majority.
        luck = dealt.over_single if "vanilla" in answers.way else dealt.over_majority
        bars |= {
            f"{answers.generator}_above_single_and_majority_met": ours.over_single.low > 0
            and ours.over_majority.low > 0,
            f"{answers.generator}_15_over_single_met": ours.over_single.mean >= 0.15,
            f"{answers.generator}_8_over_majority_met": ours.over_majority.mean >= 0.08,
            f"{answers.generator}_half_of_the_gap_met": answers.gap_closed >= 0.5,
            f"{answers.generator}_shuffled_at_zero_met": luck.low <= 0,
        }
    return bars


def gain(found: Answers, method: str) -> Interval:
    """Over one trace."""
    return next(each.over_single for each in found.methods if each.name == method)


def held_out_stories(seed: int, stories: int, length: int = 1) -> Questions:
    """Questions of stories that no training has met: their seed is out of its reach."""
    return StorySource(HELD_OUT_SEED + seed, length).questions(0, stories)


def print_subjects(who: Subjects) -> None:
    show(
        "Models",
        ("model", "parameters", "steps of 32", "CPU s"),
        [
            (name, f"{facts['parameters']:,}", f"{facts['steps']:,}", str(facts["cpu_s"] or "cut off"))
            for name, facts in who.facts.items()
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="where trained models are kept; else they are trained and dropped")
    parser.add_argument("--rows", type=Path, help="Hi-ToM's questions as JSON lines")
    parser.add_argument("--seeds", type=int, default=3, help="how many times the first table is taken anew")
    parser.add_argument("--stories", type=int, default=420, help="held-out stories, five questions each")
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-verifiers-") as scratch:
        met = main(given.models or Path(scratch), given.rows, given.seeds, given.stories, given.out)
    raise SystemExit(0 if met else 1)
