"""Muddy children by both backends against loops written by hand, and what contraction saves; one table a claim.

    PYTHONPATH=tests python -m bench.epistemic [--rounds N] [--stories N] [--out FILE]

All children are muddy, and nobody knows until somebody does. Ours reads the puzzle from its text and runs it through
the general path; parsing is left out, loading is in. Rivals take turns within a round, each in one thread and timed by
its own processor time, so that others on the machine do not count; a ratio is the median of the rounds' ratios.
Diagrams' rival: one conjunction for each agent and round, each knowledge by a quantifier, in dd.cudd with and without
reordering; the faster of the two in each round counts. Lists' rival: K by definition over Python sets; beside it a set
loop that knows that a child knows where its neighbour world is gone.
Bars: 60 children by diagrams in under 2 s, at 0.7 of the rival's time at most; 16 children by bit sets at 200 times
the speed of sets; stories of three chapters with claims, contracted, at 100 times the speed of uncontracted ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from dd import cudd

from assay_tom_verifier.core.epistemic.engine import Engine, Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.puzzles import puzzle_text
from assay_tom_verifier.core.epistemic.script import run_script
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.epistemic.syntax import parse_script
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.generate import generate_stories
from bench.moe_parts.tables import show, verdict
from bench.story_models import follow, worlds_of_product

DIAGRAM_CHILDREN, LIST_CHILDREN = 60, 16
MOST_SECONDS, MOST_SHARE, LEAST_LIST_GAIN, LEAST_CONTRACTION_GAIN = 2.0, 0.7, 200.0, 100.0
# What an engine holds: its cap on worlds times events.
MOST_WORLDS = 1_000_000
_SCRIPTS = {n: parse_script(puzzle_text("muddy-children", n)) for n in (DIAGRAM_CHILDREN, LIST_CHILDREN)}


def main(rounds: int, stories: int, out: Path | None) -> bool:
    """Prints the tables; says whether every bar was met."""
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    tables = {
        "diagrams": measure_diagrams(rounds),
        "lists": measure_lists(rounds),
        "contraction": measure_contraction(stories),
    }
    if out is not None:
        out.write_text(json.dumps({"surroundings": where, "rounds": rounds, **tables}, indent=2) + "\n")
    return all(table["met"] for table in tables.values())


def measure_diagrams(rounds: int) -> dict[str, Any]:
    times = take_turns(
        {
            "ours": lambda: by_engine(DIAGRAM_CHILDREN, SymbolicEngine),
            "naive": lambda: by_naive_diagrams(DIAGRAM_CHILDREN, reordering=False),
            "naive, reordering": lambda: by_naive_diagrams(DIAGRAM_CHILDREN, reordering=True),
        },
        DIAGRAM_CHILDREN,
        rounds,
    )
    rivals = [min(pair) for pair in zip(times["naive"], times["naive, reordering"], strict=True)]
    shares = [ours / theirs for ours, theirs in zip(times["ours"], rivals, strict=True)]
    seconds, share = statistics.median(times["ours"]), statistics.median(shares)
    met = seconds < MOST_SECONDS and share <= MOST_SHARE
    show(
        f"{DIAGRAM_CHILDREN} muddy children by diagrams",
        ["way", "median s", "least", "most"],
        [_row(name, found) for name, found in times.items()],
        f"ours under {MOST_SECONDS:g} s, {share:.2f} of the faster rival's [{min(shares):.2f}, {max(shares):.2f}], "
        f"at most {MOST_SHARE:g}: {verdict(met)}",
    )
    return {"seconds": times, "share": share, "shares": shares, "met": met}


def measure_lists(rounds: int) -> dict[str, Any]:
    times = take_turns(
        {
            "ours": lambda: by_engine(LIST_CHILDREN, ExplicitEngine),
            "sets, by definition": lambda: by_sets(LIST_CHILDREN),
            "sets, neighbours alone": lambda: by_neighbours(LIST_CHILDREN),
        },
        LIST_CHILDREN,
        rounds,
    )
    gains = {
        name: [theirs / ours for theirs, ours in zip(found, times["ours"], strict=True)]
        for name, found in times.items()
        if name != "ours"
    }
    gain = statistics.median(gains["sets, by definition"])
    met = gain >= LEAST_LIST_GAIN
    show(
        f"{LIST_CHILDREN} muddy children by bit sets",
        ["way", "median s", "least", "most"],
        [_row(name, found) for name, found in times.items()],
        *(f"{statistics.median(each):.0f}x {name} [{min(each):.0f}, {max(each):.0f}]" for name, each in gains.items()),
        f"{LEAST_LIST_GAIN:.0f}x sets by definition: {verdict(met)}",
    )
    return {"seconds": times, "gains": gains, "gain": gain, "met": met}


def measure_contraction(stories: int) -> dict[str, Any]:
    """Stories whose whole product stays under MOST_WORLDS, the largest first; uncontracted means unpruned as well."""
    told = [each.story for each in generate_stories(40 * stories, 1, length=3, claims=True)]
    sized = sorted(((worlds_of_product(story, Profile.HITOM), index) for index, story in enumerate(told)), reverse=True)
    fitting = [(worlds, told[index]) for worlds, index in sized if worlds <= MOST_WORLDS][:stories]
    rows, gains = [], []
    for worlds, story in fitting:
        ours = statistics.median(follow(story, Profile.HITOM, Reduction.CONTRACT).ms for _ in range(5))
        pruned = statistics.median(follow(story, Profile.HITOM, Reduction.PRUNE).ms for _ in range(5))
        whole = follow(story, Profile.HITOM, Reduction.NONE).ms
        gains.append(whole / ours)
        rows.append([f"{worlds:,}", f"{ours:.1f}", f"{pruned:.1f}", f"{whole:,.0f}", f"{whole / ours:.0f}"])
    gain = statistics.median(gains)
    met = gain >= LEAST_CONTRACTION_GAIN
    show(
        f"Stories of three chapters with claims, up to {MOST_WORLDS:,} worlds",
        ["worlds", "contracted ms", "pruned ms", "neither ms", "gain"],
        rows,
        f"{gain:.0f}x, at least {LEAST_CONTRACTION_GAIN:.0f}x: {verdict(met)}",
    )
    return {"rows": rows, "gain": gain, "met": met}


def take_turns(ways: dict[str, Callable[[], int]], announcements: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; a way that does not come out at `announcements` has no speed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        order = list(ways) if turn % 2 == 0 else list(reversed(ways))
        for name in order:
            begun = time.process_time()
            made = ways[name]()
            times[name].append(time.process_time() - begun)
            assert made == announcements, (name, made)
    return times


def by_engine(children: int, backend: type[Engine]) -> int:
    run = run_script(_SCRIPTS[children], backend())
    assert all(one.holds for one in run.verdicts)
    return run.rounds


def by_naive_diagrams(children: int, *, reordering: bool) -> int:
    """One conjunction for each agent, everything anew each round."""
    bdd = cudd.BDD()
    bdd.configure(reordering=reordering)
    names = [f"m{i}" for i in range(children)]
    bdd.declare(*names)
    law = bdd.false
    for name in names:
        law |= bdd.var(name)
    made = 1
    while True:
        nobody = bdd.true
        for name in names:
            muddy = bdd.var(name)
            nobody &= ~(bdd.forall([name], law.implies(muddy)) | bdd.forall([name], law.implies(~muddy)))
        if bdd.let(dict.fromkeys(names, True), nobody) == bdd.false:
            return made
        law &= nobody
        made += 1


def by_sets(children: int) -> int:
    """K by definition: all worlds that the child holds possible are in the set."""
    worlds = set(range(1, 1 << children))
    muddy = [{world for world in worlds if world >> i & 1} for i in range(children)]
    clean = [worlds - each for each in muddy]
    made = 1

    def knows(child: int, inner: set[int]) -> set[int]:
        bit = 1 << child
        return {w for w in worlds if all(v in inner for v in (w, w ^ bit) if v in worlds)}

    while True:
        somebody: set[int] = set()
        for child in range(children):
            somebody |= knows(child, muddy[child]) | knows(child, clean[child])
        if (1 << children) - 1 in somebody:
            return made
        worlds -= somebody
        made += 1


def by_neighbours(children: int) -> int:
    """A child knows where the one other world that it held possible is gone."""
    worlds = set(range(1, 1 << children))
    bits = [1 << child for child in range(children)]
    made = 1
    while True:
        somebody = {world for world in worlds if any(world ^ bit not in worlds for bit in bits)}
        if (1 << children) - 1 in somebody:
            return made
        worlds -= somebody
        made += 1


def _row(name: str, seconds: list[float]) -> list[object]:
    return [name, f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}", f"{max(seconds):.3f}"]


def surroundings() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("dd", "numpy")},
        "commit": commit.stdout.strip() or "unknown",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stories", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    chosen = parser.parse_args()
    sys.exit(0 if main(chosen.rounds, chosen.stories, chosen.out) else 1)
