"""The table engine against dynamic epistemic logic: every chain up to order 4, after every line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from unit.tom_verifier.hitom import hitom_rows
from unit.tom_verifier.stories.wild import wild_story

from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.formulas import Atom, Believes, Formula
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.chains import all_chains
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.event_models import containers_of
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.tables import TableEngine


def generated(count: int, seed: int) -> Iterator[Story]:
    """Of one, two and three chapters in turn, three of four with claims; of three to six agents."""
    for index in range(count):
        for told in generate_stories(
            1, seed, length=1 + index % 3, claims=index % 4 > 0, agents=3 + index % 4, first=index
        ):
            yield told.story


def assert_agree(stories: Iterable[Story], profiles: Iterable[Profile] = tuple(Profile)) -> int:
    """On every object of every story; returns how many beliefs were compared."""
    compared = 0
    for story in stories:
        chains = all_chains(story.agents, 4)
        for thing in story.things:
            for profile in profiles:
                by_tables = TableEngine().believe(story, chains, thing, profile)
                by_logic = DelEngine().believe(story, chains, thing, profile)
                seen: tuple[object, object] = (None, None)
                for line, tables, logic in zip(story.lines, by_tables, by_logic, strict=True):
                    compared += len(chains)
                    if tables is seen[0] and logic is seen[1]:
                        continue  # the very pair compared after the line before
                    seen = (tables, logic)
                    for chain in chains:
                        expected, found = logic[chain], tables[chain]
                        assert (found.container, found.line) == (expected.container, expected.line), (
                            f"{profile}, {thing}, {chain} after line {line.number} of\n"
                            + "\n".join(each.text for each in story.lines)
                        )
    return compared


def test_on_generated_stories() -> None:
    assert assert_agree(generated(120, seed=1)) > 1_000_000


def test_on_stories_in_no_order() -> None:
    assert assert_agree(wild_story(seed) for seed in range(100)) > 500_000


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("profile", Profile)
def test_on_ten_thousand_generated_stories(profile: Profile) -> None:
    assert assert_agree(generated(10_000, seed=2), [profile]) > 100_000_000


def test_on_hitom() -> None:
    assert assert_agree({row.story: parse_story(row.story).story for row in hitom_rows()}.values()) > 500_000


def test_models_of_stories_stay_small() -> None:
    """Unreachable and bisimilar worlds go: published stories of one and two chapters need 18 worlds at most."""
    stories = {row.story: parse_story(row.story).story for row in hitom_rows()}.values()
    worlds = [state.worlds for story in stories for _, state, _ in DelEngine().states(story, story.things[0])]
    assert max(worlds) == 18


def test_decision_diagrams_agree() -> None:
    """The same sentences on the symbolic backend."""
    pytest.importorskip("dd.cudd", reason="needs dd with CUDD, the extra `symbolic`")
    for story in (*generated(3, seed=6), wild_story(0)):
        chains = all_chains(story.agents[:4], 3)
        for profile in Profile:
            tables = TableEngine().believe(story, chains, story.things[0], profile)
            diagrams = DelEngine(SymbolicEngine()).believe(story, chains, story.things[0], profile)
            for expected, found in zip(tables, diagrams, strict=True):
                assert {c: found[c].container for c in chains} == {c: expected[c].container for c in chains}


def test_what_is_read_off_is_what_the_model_holds() -> None:
    """The belief engine reads containers off the exported model; formulas and `considered` say the same."""
    engine = ExplicitEngine()
    for story in generated(9, seed=4):
        thing = story.things[0]
        chains = all_chains(story.agents[:3], 3)
        steps = DelEngine(engine).believe(story, chains, thing)
        for (_, state, _), beliefs in zip(DelEngine(engine).states(story, thing), steps, strict=True):
            for chain in chains:
                container = beliefs[chain].container
                held = frozenset() if container is None else frozenset({container})
                assert engine.considered(state, chain, containers_of(story, thing)) == {held}
                if container is not None:
                    formula: Formula = Atom(container)
                    for agent in reversed(chain):
                        formula = Believes(agent, formula)
                    assert engine.holds(state, formula)
