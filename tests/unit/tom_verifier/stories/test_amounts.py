"""Stories of more agents and containers than are worked on: counted before anything is built, and stopped within."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from assay.cancel import CancelToken
from assay.errors import Cancelled, ResourceExhausted
from assay_tom_verifier.core.audit import audit_rows
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.evaluate import LabelledRow, evaluate_rows
from assay_tom_verifier.core.stories.beliefs import Profile, Question
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.event_models import EventCompiler
from assay_tom_verifier.core.stories.events import Enter, Exit, Line, Locate, PublicClaim, Story
from assay_tom_verifier.core.stories.parse import MOST_AGENTS, parse_story
from assay_tom_verifier.core.stories.scene import Scene
from assay_tom_verifier.core.traces.format import parse_trace
from assay_tom_verifier.core.traces.labels import label_trace

STORY = "Owen and Ava entered the hall.\nThe kiwi is in the box.\n" + "Ava moved the kiwi to the tin.\n" * 20
ASKED = Question("kiwi", ("Owen",))


class Patience(CancelToken):
    """Lets so many looks pass, then is cancelled. looks: how many there were."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self._patience, self.looks = patience, 0

    def check(self) -> None:
        self.looks += 1
        if self.looks > self._patience:
            self.cancel()
        super().check()


def crowd(count: int) -> list[str]:
    return [f"Agent{number}" for number in range(count)]


def claimed(agents: int) -> Story:
    """The last agent saw most and says something to all the others, who are out."""
    names = crowd(agents)
    events = (Enter(tuple(names), "hall"), Locate("kiwi", "box"), Exit(tuple(names[:-1]), "hall"))
    told = (*events, PublicClaim(names[-1], "kiwi", "tin"))
    return Story(tuple(Line(number, "", event) for number, event in enumerate(told, 1)))


def test_a_story_has_a_bounded_number_of_agents() -> None:
    story = "\n".join(f"{name} entered the hall." for name in crowd(MOST_AGENTS + 1))
    assert len(parse_story(story.rpartition("\n")[0]).story.agents) == MOST_AGENTS
    for strict in (True, False):
        with pytest.raises(ResourceExhausted, match="story: has over 256 agents by line 257; tell it of fewer"):
            parse_story(story, strict=strict)


@pytest.mark.parametrize(("agents", "containers"), [(1_000, 2), (100, 1_000)])
def test_the_links_of_a_claim_are_counted_before_they_are_made(agents: int, containers: int) -> None:
    scene, looks = Scene(), Patience(10**9)
    *before, last = claimed(agents).lines
    compiler = EventCompiler(crowd(agents), crowd(containers), "kiwi", Profile.HITOM, looks)
    for line in before:
        scene.advance(line.event)
    with pytest.raises(ResourceExhausted, match="links with 250,000 at most; tell a story of fewer"):
        compiler.compile(last.event, scene, "line_4")
    assert looks.looks == 0


def test_a_claim_before_many_can_be_stopped_wherever_it_is() -> None:
    story, whole = claimed(60), Patience(10**9)
    DelEngine(ExplicitEngine(cancel=whole)).believe(story, [()], "kiwi")
    assert whole.looks > 3 * 60  # every agent of every event model, at the least
    for patience in range(0, whole.looks, whole.looks // 9):
        with pytest.raises(Cancelled):
            DelEngine(ExplicitEngine(cancel=Patience(patience))).believe(story, [()], "kiwi")


ROW = LabelledRow("row", STORY, "Where does Owen think the kiwi is?", "none of them")
CHECKED = parse_trace("## Step 1 ##\nso [Null]")


@pytest.mark.parametrize(
    ("work", "passes"),
    [
        (lambda cancel: parse_story(STORY, cancel=cancel), 1),
        (lambda cancel: evaluate_rows([ROW], cancel=cancel), 2),
        (lambda cancel: audit_rows([ROW], cancel=cancel), 3),
        (lambda cancel: label_trace(parse_story(STORY).story, ASKED, CHECKED, cancel=cancel), 1),
    ],
    ids=["parse", "evaluate", "audit", "label"],
)
def test_work_on_a_single_row_stops_between_its_lines(work: Callable[[CancelToken], object], passes: int) -> None:
    whole = Patience(10**9)
    work(whole)
    assert whole.looks == passes * len(STORY.splitlines())
    for patience in range(0, whole.looks, 7):
        with pytest.raises(Cancelled):
            work(Patience(patience))
