"""Stories, questions, traces and published answers over a real socket."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY

from assay.client.connection import Connection
from assay.errors import ResourceExhausted
from assay.tom_verifier.v1 import stories_pb2, traces_pb2

HITOM, COMMON = stories_pb2.SEMANTICS_PROFILE_HITOM, stories_pb2.SEMANTICS_PROFILE_COMMON_KNOWLEDGE
TABLE, DEL = stories_pb2.BELIEF_ENGINE_TABLE, stories_pb2.BELIEF_ENGINE_DEL
ASKED = stories_pb2.AskedQuestion(text=QUESTION)


def test_a_story_is_read_into_events(connection: Connection, stub: Any) -> None:
    answer = connection.call(stub.ParseStory, stories_pb2.ParseStoryRequest(story=STORY))
    kinds = [line.event.WhichOneof("event") for line in answer.story.lines]
    assert kinds == ["enter", "locate", "move", "exit", "move", "exit", "stay", "exit", "enter", "public_claim"]
    assert list(answer.story.agents) == ["Owen", "Liam", "Ava"]
    assert list(answer.story.things) == ["celery"]
    assert answer.story.lines[4].event.move.container == "green_drawer"


def test_a_lenient_reading_names_what_it_leaves_out(connection: Connection, stub: Any) -> None:
    story = STORY.replace("7 Ava made", "7 Ava juggled three lemons.\n7 Ava made")
    answer = connection.call(stub.ParseStory, stories_pb2.ParseStoryRequest(story=story, lenient=True))
    assert [(line.number, line.text) for line in answer.refused] == [(7, "Ava juggled three lemons.")]
    assert len(answer.story.lines) == 10


@pytest.mark.parametrize("engine", [TABLE, DEL])
def test_beliefs_are_told_line_by_line_alike_by_both_engines(stub: Any, engine: Any) -> None:
    chains = [stories_pb2.BeliefChain(agents=agents) for agents in ([], ["Owen"], ["Liam", "Owen"], ["Ava"])]
    replies = list(stub.Simulate(stories_pb2.SimulateRequest(story=STORY, chains=chains, engine=engine)))
    assert [reply.step.line.number for reply in replies] == list(range(1, 11))
    told = [[one.belief.container for one in reply.step.beliefs] for reply in replies]
    assert told[0] == ["", "", "", ""]
    assert not replies[0].step.beliefs[0].belief.HasField("container")
    assert told[4] == ["green_drawer", "blue_crate", "blue_crate", "green_drawer"]
    assert told[9] == ["green_drawer", "red_box", "blue_crate", "green_drawer"]


def test_a_line_of_more_beliefs_than_a_message_holds_goes_on_in_the_next(stub: Any) -> None:
    agents = [f"Agent{number}" for number in range(17)]
    story = f"{', '.join(agents[:-1])} and {agents[-1]} entered the hall.\nThe celery is in the red_box."
    chains = 1 + sum(17 * 16**length for length in range(4))
    told: list[list[tuple[str, ...]]] = []
    for reply in stub.Simulate(stories_pb2.SimulateRequest(story=story, max_order=4)):
        if reply.step.HasField("line"):
            told.append([])
        told[-1].extend(tuple(one.chain.agents) for one in reply.step.beliefs)
    assert [len(line) for line in told] == [chains, chains]
    assert len(set(told[0])) == chains
    assert told[0] == told[1]


def test_the_profiles_differ_on_what_a_claim_does_to_longer_chains(connection: Connection, stub: Any) -> None:
    answers = {
        profile: connection.call(
            stub.AnswerQuestion,
            stories_pb2.AnswerQuestionRequest(story=STORY, question=ASKED, profile=profile),
        )
        for profile in (HITOM, COMMON)
    }
    assert answers[HITOM].belief.container == "blue_crate"
    assert answers[COMMON].belief.container == "red_box"
    assert [step.line for step in answers[COMMON].derivation] == [2, 3, 10]
    assert "Ava" in answers[COMMON].belief.rule


def test_an_answer_can_be_had_as_of_any_line(connection: Connection, stub: Any) -> None:
    request = stories_pb2.AnswerQuestionRequest(story=STORY, question=ASKED, step_index=1)
    assert connection.call(stub.AnswerQuestion, request).belief.container == "red_box"


def test_line_ends_names_and_commas_of_the_world_are_read(connection: Connection, stub: Any) -> None:
    story = "Zoë, 李雷, and Ava entered the hall.\r\nThe peas is in the red_box.\r\n李雷 exited the hall.\r\n"
    question = stories_pb2.AskedQuestion(text="Where does 李雷 really think the peas is?")
    request = stories_pb2.AnswerQuestionRequest(story=story, question=question)
    assert connection.call(stub.AnswerQuestion, request).belief.container == "red_box"


@pytest.mark.parametrize(("told", "asked"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_an_accent_may_be_written_either_way(connection: Connection, stub: Any, told: Any, asked: Any) -> None:
    def in_form(text: str) -> str:
        return unicodedata.normalize(asked, text)

    story = "Zoë and Ava entered the hall.\nThe pâté is in the crème_box.\nZoë exited the hall."
    story = unicodedata.normalize(told, story)
    chain = stories_pb2.BeliefChain(agents=[in_form("Zoë")])
    question = stories_pb2.AskedQuestion(question=stories_pb2.Question(thing=in_form("pâté"), chain=chain))
    answered = connection.call(stub.AnswerQuestion, stories_pb2.AnswerQuestionRequest(story=story, question=question))
    assert answered.belief.container == "crème_box"
    request = stories_pb2.SimulateRequest(story=story, chains=[chain], things=[in_form("pâté")])
    assert [reply.step.beliefs[0].belief.container for reply in stub.Simulate(request)] == ["", *["crème_box"] * 2]
    given = trace(("Null", in_form("crème_box")))
    checked = connection.call(
        stub.CheckTrace, traces_pb2.CheckTraceRequest(story=story, question=question, trace=given)
    )
    assert [step.right for step in checked.steps] == [True, True]
    assert checked.answer_right
    row = traces_pb2.LabelledRow(
        story=story, question=in_form("Where does Zoë think the pâté is?"), published_answer=in_form("crème_box")
    )
    assert connection.call(stub.Evaluate, traces_pb2.EvaluateRequest(rows=[row])).agree == 1


def test_the_same_seed_tells_the_same_stories_and_their_answers_hold(connection: Connection, stub: Any) -> None:
    request = stories_pb2.GenerateStoriesRequest(count=5, seed=11, length=2, claims=True)
    first, second = (list(stub.GenerateStories(request)) for _ in range(2))
    assert first == second
    assert [reply.story.index for reply in first] == list(range(5))
    rows = [
        traces_pb2.LabelledRow(
            id=str(number),
            story=reply.story.text,
            question=question.text,
            published_answer=question.answer.container or "Null",
            group=str(len(question.question.chain.agents)),
        )
        for number, reply in enumerate(first)
        for question in reply.story.questions
    ]
    answer = connection.call(stub.Evaluate, traces_pb2.EvaluateRequest(rows=rows))
    assert (answer.total, answer.agree, answer.unparsed) == (25, 25, 0)
    assert {group.group: group.total for group in answer.groups} == {str(order): 5 for order in range(5)}


def trace(claims: tuple[str, ...], said: str = "") -> traces_pb2.GivenTrace:
    steps = [traces_pb2.TraceStep(text=said, claim=claim) for claim in claims]
    return traces_pb2.GivenTrace(trace=traces_pb2.Trace(steps=steps, answer=claims[-1]))


def test_each_step_of_a_trace_is_labelled_with_the_rule(connection: Connection, stub: Any) -> None:
    wrong = (*CLAIMS[:4], "green_drawer", *CLAIMS[5:])
    prefix = connection.call(
        stub.CheckTrace, traces_pb2.CheckTraceRequest(story=STORY, question=ASKED, trace=trace(wrong))
    )
    assert [step.right for step in prefix.steps] == [True] * 4 + [False] * 6
    assert prefix.steps[4].expected.container == "blue_crate"
    assert prefix.steps[4].expected.rule
    alone = connection.call(
        stub.CheckTrace,
        traces_pb2.CheckTraceRequest(
            story=STORY, question=ASKED, trace=trace(wrong), mode=traces_pb2.STEP_LABEL_MODE_STEP
        ),
    )
    assert [step.right for step in alone.steps] == [True] * 4 + [False] + [True] * 5
    assert alone.answer_right


def row(name: str, story: str, question: str = QUESTION) -> traces_pb2.LabelledRow:
    return traces_pb2.LabelledRow(id=name, story=story, question=question, published_answer="blue_crate")


def test_rows_that_cannot_be_read_are_counted_beside_those_that_can(connection: Connection, stub: Any) -> None:
    rows = [
        row("good", STORY),
        row("empty", ""),
        row("blank", " \n\n"),
        row("long", "Owen entered the hall.\n" * 2001),
        row("other", "It was night."),
        row("unasked", STORY, ""),
    ]
    answer = connection.call(stub.Evaluate, traces_pb2.EvaluateRequest(rows=rows))
    assert (answer.total, answer.agree, answer.unparsed) == (6, 1, 5)
    assert [(each.id, bool(each.refused), each.HasField("answer")) for each in answer.rows] == [
        ("good", False, True),
        *((name, True, False) for name in ("empty", "blank", "long", "other", "unasked")),
    ]
    audited = connection.call(stub.Audit, traces_pb2.AuditRequest(rows=rows))
    assert (audited.audited, audited.unparsed) == (1, 5)


def test_the_reasons_of_as_many_rows_as_may_be_fit_one_reply(connection: Connection, stub: Any) -> None:
    rows = [row(str(number), f"{'It was night ' * 9}{number}.") for number in range(10_000)]
    answer = connection.call(stub.Evaluate, traces_pb2.EvaluateRequest(rows=rows))
    assert answer.unparsed == 10_000
    reasons = {each.refused for each in answer.rows}
    assert all("line 1" in reason and "parse the story" in reason for reason in reasons)
    assert max(map(len, reasons)) <= 240


def test_empty_lines_are_no_lines_of_a_story(connection: Connection, stub: Any) -> None:
    longest = "Owen entered the hall.\n\n" + "Owen likes the red_box.\n\n" * 1999
    answer = connection.call(stub.ParseStory, stories_pb2.ParseStoryRequest(story=longest))
    assert len(answer.story.lines) == 2000
    with pytest.raises(ResourceExhausted, match="story: has 2,001 lines"):
        connection.call(stub.ParseStory, stories_pb2.ParseStoryRequest(story=f"{longest}Owen likes the red_box."))


def test_audit_shows_how_a_published_answer_is_wrong(connection: Connection, stub: Any) -> None:
    rows = [
        traces_pb2.LabelledRow(id="good", story=STORY, question=QUESTION, published_answer="blue_crate"),
        traces_pb2.LabelledRow(id="bad", story=STORY, question=QUESTION, published_answer="green_drawer"),
        traces_pb2.LabelledRow(id="odd", story="It was night.", question=QUESTION, published_answer="x"),
    ]
    answer = connection.call(stub.Audit, traces_pb2.AuditRequest(rows=rows))
    assert (answer.audited, answer.unparsed) == (2, 1)
    (found,) = answer.contradicted
    assert (found.id, found.answer) == ("bad", "blue_crate")
    assert [step.line for step in found.derivation] == [2, 3]


def test_a_story_is_drawn(connection: Connection, stub: Any) -> None:
    answer = connection.call(stub.DrawStory, stories_pb2.DrawStoryRequest(story=STORY))
    for picture in (answer.timeline, answer.models):
        assert picture.startswith(b"<?xml")
        assert b"currentColor" in picture
    assert b"green_drawer" in answer.models
    assert b"cannot tell" in answer.timeline
