"""`parse`, `simulate`, `ask`, `generate`: what a story says, and who then believes what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.tom_verifier.v1 import stories_pb2
from assay_tom_verifier.cli.group import SERVICE, tom_verifier
from assay_tom_verifier.cli.request import (
    ENGINES,
    FILE,
    LONG_CALL_S,
    OUT,
    PROFILES,
    belief_answer,
    belief_text,
    chain_text,
    document_of,
    engine_option,
    profile_option,
    read_text,
    stream,
    stub_of,
)


@command(tom_verifier, "parse", service=SERVICE)
@click.argument("story", type=FILE)
@click.option("--lenient", is_flag=True, help="Leave out lines that cannot be read, and name them, instead of failing.")
def parse(session: CommandSession, story: str, lenient: bool) -> None:
    """Reads STORY into events."""
    request = stories_pb2.ParseStoryRequest(story=read_text(story, "STORY"), lenient=lenient)
    with session.connection() as connection:
        answer = connection.call(stub_of(connection).ParseStory, request)

    def human() -> None:
        print_table(
            ("line", "event", "text"),
            [(line.number, line.event.WhichOneof("event"), line.text) for line in answer.story.lines],
            right=("line",),
        )
        for line in answer.refused:
            click.echo(f"line {line.number} left out: {line.text} ({line.reason})")

    session.emit(document_of(answer), human)


@command(tom_verifier, "simulate", service=SERVICE)
@click.argument("story", type=FILE)
@click.option("--chain", "chains", multiple=True, help="Agents separated by commas, outermost first; '' for reality.")
@click.option("--order", type=click.IntRange(0, 4), default=1, show_default=True, help="Without --chain: the longest.")
@click.option("--thing", default="", help="Object to follow.  [default: all]")
@click.option("--timeline", type=OUT, help="Where to draw chains by steps (SVG).")
@click.option("--models", type=OUT, help="Where to draw the epistemic model after each step (SVG).")
@profile_option
@engine_option
def simulate(
    session: CommandSession,
    story: str,
    chains: tuple[str, ...],
    order: int,
    thing: str,
    timeline: Path | None,
    models: Path | None,
    profile: str,
    engine: str,
) -> None:
    """What chains of agents believe after each line of STORY."""
    text = read_text(story, "STORY")
    asked = [stories_pb2.BeliefChain(agents=[name.strip() for name in c.split(",") if name.strip()]) for c in chains]
    request = stories_pb2.SimulateRequest(
        story=text,
        chains=asked,
        max_order=order,
        things=[thing] if thing else [],
        profile=PROFILES[profile],
        engine=ENGINES[engine],
    )
    with session.connection() as connection:
        steps: list[stories_pb2.SimulatedStep] = []
        for reply in stream(stub_of(connection).Simulate, request):
            if reply.step.HasField("line"):
                steps.append(reply.step)
            else:
                steps[-1].beliefs.extend(reply.step.beliefs)
        if timeline or models:
            drawing = stories_pb2.DrawStoryRequest(
                story=text, thing=thing, max_order=order, chains=asked, profile=PROFILES[profile]
            )
            drawn = connection.call(stub_of(connection).DrawStory, drawing, timeout_s=LONG_CALL_S)
            if timeline:
                timeline.write_bytes(drawn.timeline)
            if models:
                models.write_bytes(drawn.models)

    def human() -> None:
        known: dict[tuple[str, tuple[str, ...]], str] = {}
        rows: list[tuple[Any, ...]] = []
        for step in steps:
            for one in step.beliefs:
                key, believed = (one.thing, tuple(one.chain.agents)), belief_text(one.belief)
                if known.get(key, "cannot tell") != believed:
                    known[key] = believed
                    rows.append((step.line.number, one.thing, chain_text(one.chain.agents), believed, one.belief.rule))
        print_table(("line", "object", "who", "believes", "because"), rows, right=("line",))

    session.emit({"steps": [document_of(step) for step in steps]}, human)


@command(tom_verifier, "ask", service=SERVICE)
@click.argument("story", type=FILE)
@click.argument("question")
@profile_option
@engine_option
def ask(session: CommandSession, story: str, question: str, profile: str, engine: str) -> None:
    """Answers QUESTION about STORY, e.g. "Where does Owen think Liam thinks the celery is?"."""
    request = stories_pb2.AnswerQuestionRequest(
        story=read_text(story, "STORY"),
        question=stories_pb2.AskedQuestion(text=question),
        profile=PROFILES[profile],
        engine=ENGINES[engine],
    )
    with session.connection() as connection:
        answer = connection.call(stub_of(connection).AnswerQuestion, request)

    def human() -> None:
        click.echo(belief_text(answer.belief))
        for change in answer.derivation:
            click.echo(f"  line {change.line}: {belief_text(change)} ({change.rule})")

    session.emit(document_of(answer), human)


@command(tom_verifier, "generate", service=SERVICE)
@click.option("--count", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--length", type=click.IntRange(1, 3), default=1, show_default=True, help="Chapters of a story.")
@click.option("--claims", is_flag=True, help="End chapters with claims, true or not.")
@click.option("--noise", type=float, default=0.1, show_default=True, help="Share of sentences that change no belief.")
@click.option("--out", type=OUT, help="Where to write rows that `eval` takes, one question a line (JSONL).")
@profile_option
def generate(
    session: CommandSession,
    count: int,
    seed: int,
    length: int,
    claims: bool,
    noise: float,
    out: Path | None,
    profile: str,
) -> None:
    """Stories with questions of every order and their answers."""
    request = stories_pb2.GenerateStoriesRequest(
        count=count, seed=seed, length=length, claims=claims, noise=noise, profile=PROFILES[profile]
    )
    with session.connection() as connection:
        replies = stream(stub_of(connection).GenerateStories, request)
        stories = [reply.story for reply in replies]
    if out is not None:
        with out.open("w", encoding="utf-8") as file:
            for story in stories:
                for question in story.questions:
                    json.dump(_row(story, question, length, claims), file)
                    file.write("\n")

    def human() -> None:
        if out is not None:
            click.echo(f"{len(stories):,} stories, {sum(len(s.questions) for s in stories):,} questions -> {out}")
            return
        for story in stories:
            click.echo(story.text)
            for question in story.questions:
                click.echo(f"  {question.text} {belief_text(question.answer)}")

    session.emit({"stories": [document_of(story) for story in stories]}, human)


def _row(
    story: stories_pb2.GeneratedStory, question: stories_pb2.GeneratedQuestion, length: int, claims: bool
) -> dict[str, Any]:
    order = len(question.question.chain.agents)
    return {
        "id": f"story_{story.index}/order_{order}",
        "deception": claims,
        "length": length,
        "order": order,
        "story": story.text,
        "question": question.text,
        "published_answer": belief_answer(question.answer),
    }
