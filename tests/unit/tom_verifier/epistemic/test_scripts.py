"""Scripts: steps in order, verdicts as they stood, loops that end."""

from __future__ import annotations

import pytest

from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.script import run_script, run_steps
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.epistemic.syntax import parse_script
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.chains import all_chains
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.tables import TableEngine

# Sally puts the marble into the basket and leaves; Anne moves it (Baron-Cohen, Leslie and Frith 1985).
SALLY_ANNE = """
model
  agents sally, anne
  atoms basket
  world w: basket
  relation sally, anne: {w}
  point w
end

events moves_unseen
  event move: post basket := false
  event nothing:
  relation anne: {move} {nothing}
  relation sally: move, nothing -> nothing
  point move
end

claim C[sally, anne] basket
update moves_unseen
claim !basket
claim B[sally] basket
claim B[anne] !basket
claim B[anne] B[sally] basket
claim B[sally] B[anne] basket
claim [moves_unseen, nothing] B[anne] !basket
claim [!!basket] B[sally] false
"""


@pytest.mark.parametrize("backend", [ExplicitEngine, SymbolicEngine])
def test_sally_looks_where_she_left_it(backend):
    found = run_script(parse_script(SALLY_ANNE), backend())
    assert [verdict.holds for verdict in found.verdicts] == [True] * 8
    assert [verdict.line for verdict in found.verdicts] == [18, *range(20, 27)]
    assert (found.rounds, found.worlds) == (1, 2)


def test_steps_go_on_from_a_state():
    engine = ExplicitEngine()
    script = parse_script(SALLY_ANNE)
    state = run_script(script, engine).state
    more = parse_script("announce !basket\nclaim B[sally] false", model=script.model)
    found = run_steps(more.steps, engine, state)
    assert found.verdicts[0].holds
    assert found.state.report.not_serial == ("sally",)


def test_announcing_whether_says_what_is_true():
    text = SALLY_ANNE[: SALLY_ANNE.index("events")] + "announce whether !basket\nclaim basket"
    assert run_script(parse_script(text), ExplicitEngine()).verdicts[0].holds


@pytest.mark.parametrize("backend", [ExplicitEngine, SymbolicEngine])
def test_a_loop_that_never_ends_is_refused_with_its_line(backend):
    text = SALLY_ANNE[: SALLY_ANNE.index("events")] + "repeat announce basket until !basket"
    with pytest.raises(FailedPrecondition, match="line 10: the announcement teaches nobody anything"):
        run_script(parse_script(text), backend())


def test_a_false_announcement_is_refused_with_its_line():
    text = SALLY_ANNE[: SALLY_ANNE.index("events")] + "\nannounce !basket"
    with pytest.raises(FailedPrecondition, match="line 11: announcement: is false at the actual world"):
        run_script(parse_script(text), ExplicitEngine())


@pytest.mark.parametrize("profile", list(Profile))
def test_stories_followed_by_diagrams_have_the_beliefs_of_the_tables(profile):
    for told in generate_stories(3, 5, length=3, claims=True):
        chains = all_chains(told.story.agents, 2)
        engine = DelEngine(SymbolicEngine())
        for thing in told.story.things:
            tables = TableEngine().believe(told.story, chains, thing, profile)
            models = engine.believe(told.story, chains, thing, profile)
            for mine, theirs in zip(models, tables, strict=True):
                assert all(mine[chain].container == theirs[chain].container for chain in chains)
