"""Stories in words that the parser refuses: does a verifier that reads words choose better among traces than majority?

    PYTHONPATH=tests python -m bench.paraphrases [--models DIR] [--left-out 4 ...] [--out FILE]

For each grammar of sentences that is left out, a generator and a verifier are trained on stories told in the published
sentences and in the four other paraphrases: some ten minutes of one core, kept in --models and taken up again from
there. Generator and verifier alike read the paraphrase itself; neither is given what a parser would make of it. They
are asked about unseen stories told in the grammars that they trained on, and, apart, in the one left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from assay_tom_verifier.core.stories.grammar import read_sentence
from assay_tom_verifier.core.stories.paraphrase import GRAMMARS
from assay_tom_verifier.core.verifier.controls import single
from assay_tom_verifier.core.verifier.solver import solve
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.words import PUBLISHED
from bench.belief_verifier_parts.answers import Answers, best_way, measure, print_answers
from bench.belief_verifier_parts.judged import fresh, print_steps, step_quality
from bench.belief_verifier_parts.readers import LONGER_STEPS, Readers
from bench.moe_balance import surroundings
from bench.moe_parts.tables import document, show, verdict

N = 16
FITTING = 10**6  # the first of the stories by which the way of selecting is chosen


def main(models: Path, left_out: Sequence[int], stories: int, out: Path | None) -> bool:
    """Prints the tables; says whether every bar was met."""
    torch.set_num_threads(1)
    begun, used = time.monotonic(), time.process_time()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    found = [without(Readers(models, grammar, 0), stories) for grammar in left_out]
    bars = {bar: met for each in found for bar, met in bars_of(each).items()}
    print()
    for bar, met in bars.items():
        print(f"{bar}: {verdict(met)}")
    where["minutes"] = round((time.monotonic() - begun) / 60, 1)
    where["cpu_minutes"] = round((time.process_time() - used) / 60, 1)
    print(f"{where['minutes']} minutes, {where['cpu_minutes']} of CPU, without what was trained before")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        raw = document({"bench": "paraphrases", **where, **bars, "left_out": found})
        out.write_text(json.dumps(raw, sort_keys=True, separators=(",", ":")) + "\n")
    return all(bars.values())


def without(who: Readers, stories: int) -> dict[str, Any]:
    """Answers and steps of one pair of readers, by the sentences that the stories are told in."""
    seen = [grammar for grammar in range(GRAMMARS) if grammar != who.left_out]
    tellings = {
        f"paraphrases without {who.left_out}, trained on": (who.told(*seen), stories),
        f"paraphrase {who.left_out}, never met": (who.told(who.left_out), stories),
        f"published sentences, trained on without {who.left_out}": (who.told(PUBLISHED), max(4, stories // 2)),
    }
    fitting = fresh(who.generator, who.told(*seen).questions(FITTING, max(8, stories // 5)), N, seed=1)
    way = best_way(who.verifier.score(fitting.questions, fitting.claims), fitting)
    answers, steps = [], []
    for index, (name, (source, count)) in enumerate(tellings.items()):
        traces = fresh(who.generator, source.questions(0, count), N, seed=10 + index)
        scores = who.verifier.score(traces.questions, traces.claims)
        longer = fresh(who.longer, traces.questions, 1, seed=20 + index)
        solved = traces.questions.last_of(solve(who.verifier, traces.questions)) == traces.right
        beside = {
            "verifier solves alone": solved.double(),
            f"one trace, generator of {LONGER_STEPS} steps": single(longer.answers, longer.right),
        }
        answers.append(measure(name, scores, traces, way, index, beside))
        refused = refused_share(source, count)
        print_answers(
            f"Best of {N}: {name}; {len(traces.questions):,} questions",
            answers[-1],
            f"The parser refuses {100 * refused:.1f} % of these lines.",
        )
        steps += step_quality(name, scores, traces, fitting)
    print_steps("Right steps told from wrong", [row for row in steps if row.judge == "verifier"])
    show(
        "Models",
        ("model", "parameters", "steps of 32", "CPU s"),
        [(name, f"{f['parameters']:,}", f"{f['steps']:,}", f"{f['cpu_s']}") for name, f in who.facts.items()],
    )
    refused = {name: refused_share(source, count) for name, (source, count) in tellings.items()}
    return {"grammar": who.left_out, "answers": answers, "steps": steps, "models": who.facts, "refused": refused}


def refused_share(source: ToldSource, stories: int) -> float:
    """Of all lines, how many are no sentence of the parser's grammar."""
    lines = [line for index in range(stories) for line in source.tell(source.story(index)).splitlines()]
    return sum(read_sentence(line) is None for line in lines) / len(lines)


def bars_of(found: dict[str, Any]) -> dict[str, bool]:
    trained_on, foreign, _ = found["answers"]
    recipe = [facts["cpu_s"] for name, facts in found["models"].items() if "verifier" in name]
    return {
        f"without_{found['grammar']}_trained_on_above_majority_met": _over_majority(trained_on) > 0,
        f"without_{found['grammar']}_never_met_above_majority_met": _over_majority(foreign) > 0,
        f"without_{found['grammar']}_trained_on_shuffled_at_zero_met": _luck(trained_on) <= 0,
        f"without_{found['grammar']}_never_met_shuffled_at_zero_met": _luck(foreign) <= 0,
        f"without_{found['grammar']}_within_15_cpu_minutes_met": all(s is not None and s <= 900 for s in recipe),
    }


def _over_majority(answers: Answers) -> float:
    """The lower end of the interval."""
    (ours,) = (each for each in answers.methods if each.name == "verifier")
    return ours.over_majority.low


def _luck(answers: Answers) -> float:
    """The lower end of what scores dealt anew gain: over one trace where one is taken, else over majority."""
    (dealt,) = (each for each in answers.methods if each.name == "verifier's scores shuffled")
    return (dealt.over_single if "vanilla" in answers.way else dealt.over_majority).low


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="where trained models are kept; else they are trained and dropped")
    parser.add_argument("--left-out", type=int, nargs="+", default=[4], choices=range(GRAMMARS))
    parser.add_argument("--stories", type=int, default=200, help="unseen stories, five questions each")
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-readers-") as scratch:
        met = main(given.models or Path(scratch), given.left_out, given.stories, given.out)
    raise SystemExit(0 if met else 1)
