"""What a story costs as a Kripke model, and whether tables and models give the same beliefs; one table a claim.

    PYTHONPATH=tests python -m bench.story_models [--stories N] [--agree N] [--rounds N]

Stories are generated, of three chapters with claims after them; each of their objects is followed. Pruning leaves
out worlds that no chain of agents leads to, contraction merges bisimilar ones: both are on, then contraction is left
out, then both. Without either, worlds multiply with every line: only the largest five stories under a cap are built,
and for all of them the worlds are counted, which takes no building. One thread and its own time, so that others on the
machine do not count; the ways take turns within a round, and a story's time is its median over rounds. Memory is the
peak of a process that follows one story and does nothing else.
Bars: a story in under 50 ms and 256 MiB; all beliefs of all stories equal.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from dataclasses import dataclass

from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.chains import all_chains
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.tables import TableEngine
from bench.moe_parts.tables import show, verdict

MOST_MS, MOST_MIB = 50.0, 256.0
# Without pruning and contraction: what is built at most, so that a story takes seconds and not hours.
MOST_WORLDS = 50_000
BUILT = 5
WAYS = {Reduction.CONTRACT: "pruned and contracted", Reduction.PRUNE: "pruned", Reduction.NONE: "neither"}
PROFILES = {Profile.HITOM: "hitom", Profile.COMMON_KNOWLEDGE: "common_knowledge"}


@dataclass(frozen=True)
class Cost:
    """Of one story: milliseconds, and worlds of the largest model on the way."""

    ms: float
    worlds: int


def main(stories: int, agree: int, rounds: int) -> bool:
    """Prints the tables; says whether every bar was met."""
    told = [each.story for each in generate_stories(stories, 1, length=3, claims=True)]
    met = [measure_costs(told, profile, rounds) for profile in Profile]
    met.append(measure_memory())
    met.append(measure_agreement(agree))
    return all(met)


def measure_costs(told: list[Story], profile: Profile, rounds: int) -> bool:
    costs: dict[Reduction, list[Cost]] = {way: [] for way in WAYS}
    whole = [worlds_of_product(story, profile) for story in told]
    by_size = sorted(zip(whole, range(len(told)), strict=True), reverse=True)
    small = [told[index] for worlds, index in by_size if worlds <= MOST_WORLDS][:BUILT]
    timed = {Reduction.CONTRACT: told, Reduction.PRUNE: told, Reduction.NONE: small}
    for story in told:
        times: dict[Reduction, list[Cost]] = {way: [] for way in WAYS if story in timed[way]}
        for _ in range(rounds):
            for way, found in times.items():
                found.append(follow(story, profile, way))
        for way, found in times.items():
            costs[way].append(Cost(statistics.median(cost.ms for cost in found), found[0].worlds))
    same = {id(story) for story in small}
    beside = [cost for story, cost in zip(told, costs[Reduction.CONTRACT], strict=True) if id(story) in same]
    rows = [_row(WAYS[way], costs[way]) for way in (Reduction.CONTRACT, Reduction.PRUNE)]
    rows.append(["neither, counted", len(whole), "", "", f"{statistics.median(whole):,.0f}", f"{max(whole):,}"])
    rows.append(_row(f"neither, built, up to {MOST_WORLDS:,}", costs[Reduction.NONE]))
    rows.append(_row("pruned and contracted, of the same", beside))
    worst = max(cost.ms for cost in costs[Reduction.CONTRACT])
    show(
        f"A story of three chapters with claims, {PROFILES[profile]}",
        ["worlds", "stories", "median ms", "worst ms", "median worlds", "most worlds"],
        rows,
        f"worst story under {MOST_MS:.0f} ms: {verdict(worst < MOST_MS)}",
    )
    return worst < MOST_MS


def follow(story: Story, profile: Profile, way: Reduction) -> Cost:
    """All objects of the story, one model each."""
    engine = DelEngine(ExplicitEngine(reduction=way))
    begun = time.process_time()
    worlds = max(state.worlds for thing in story.things for _, state, _ in engine.states(story, thing, profile))
    return Cost((time.process_time() - begun) * 1e3, worlds)


def worlds_of_product(story: Story, profile: Profile) -> int:
    """Worlds of the largest model at the end where none is left out.

    Every event can happen everywhere, so the numbers of events multiply.
    """
    largest = 1
    for thing in story.things:
        worlds = before = 1
        for _, state, updated in DelEngine().states(story, thing, profile):
            if updated and state.report is not None:
                worlds *= state.report.product_worlds // before
            before = state.worlds
        largest = max(largest, worlds)
    return largest


def measure_memory() -> bool:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        (mib,) = pool.map(_peak_mib, [0])
    met = mib < MOST_MIB
    show(
        "Peak memory of a process that follows one story",
        ["MiB", "bar"],
        [[f"{mib:.0f}", f"< {MOST_MIB:.0f}"]],
        verdict(met),
    )
    return met


def _peak_mib(_: int) -> float:
    (told,) = generate_stories(1, 1, length=3, claims=True)
    follow(told.story, Profile.HITOM, Reduction.CONTRACT)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_agreement(count: int) -> bool:
    """Tables against models, all chains up to order 4 after every line, both profiles."""
    rows = []
    met = True
    for profile in Profile:
        equal = compared = 0
        for index in range(count):
            (told,) = generate_stories(1, 2, length=1 + index % 3, claims=index % 4 > 0, first=index)
            same, beliefs = _agree(told.story, profile)
            equal += same
            compared += beliefs
        met = met and equal == count
        rows.append([PROFILES[profile], count, equal, f"{compared:,}"])
    show("Table engine against models", ["profile", "stories", "equal", "beliefs"], rows, verdict(met))
    return met


def _agree(story: Story, profile: Profile) -> tuple[bool, int]:
    chains = all_chains(story.agents, 4)
    same = True
    for thing in story.things:
        tables = TableEngine().believe(story, chains, thing, profile)
        models = DelEngine().believe(story, chains, thing, profile)
        same = same and all(
            first[chain].container == second[chain].container
            for first, second in zip(tables, models, strict=True)
            for chain in chains
        )
    return same, len(chains) * len(story.lines) * len(story.things)


def _row(name: str, costs: list[Cost]) -> list[object]:
    if not costs:
        return [name, 0, "", "", "", ""]
    ms, worlds = [cost.ms for cost in costs], [cost.worlds for cost in costs]
    return [
        name, len(costs), f"{statistics.median(ms):.2f}", f"{max(ms):.2f}", f"{statistics.median(worlds):,.0f}",
        f"{max(worlds):,}",
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=100, help="stories whose cost is measured")
    parser.add_argument("--agree", type=int, default=10_000, help="stories on which tables and models are compared")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.exit(0 if main(arguments.stories, arguments.agree, arguments.rounds) else 1)
