"""Generated stories and their paraphrases."""

from __future__ import annotations

from itertools import pairwise

import pytest

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.events import Enter, Exit, Noise, PrivateClaim, PublicClaim
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.paraphrase import GRAMMARS, paraphrase, paraphrase_story
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.tables import TableEngine


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("claims", [False, True])
def test_a_story_is_what_its_text_says(length: int, claims: bool) -> None:
    for told in generate_stories(30, 1, length=length, claims=claims):
        assert parse_story(told.text).story == told.story
        assert len(told.story.agents) == 5
        entered = [len(line.event.agents) for line in told.story.lines if isinstance(line.event, Enter)]
        assert entered == [5, 5, 3, 3, 4, 4][: 2 * length]
        said = [line for line in told.story.lines if isinstance(line.event, PublicClaim | PrivateClaim)]
        assert len(said) >= 2 if claims else not said


def test_questions_are_of_orders_0_to_4_each_about_the_one_before() -> None:
    for told in generate_stories(50, 2, length=2, claims=True):
        chains = [each.question.chain for each in told.questions]
        assert [len(chain) for chain in chains] == [0, 1, 2, 3, 4]
        assert all(longer[1:] == shorter for shorter, longer in pairwise(chains))
        assert len(set(chains[-1])) == 4
        (thing,) = {each.question.thing for each in told.questions}
        last = TableEngine().believe(told.story, chains, thing)[-1]
        assert [each.answer for each in told.questions] == [last[chain] for chain in chains]


def test_a_seed_stands_for_its_stories() -> None:
    whole = [told.text for told in generate_stories(8, 3)]
    assert [told.text for told in generate_stories(4, 3, first=4)] == whole[4:]
    assert len({*whole, *(told.text for told in generate_stories(8, 4))}) == 16


def test_a_tenth_of_sentences_change_nothing() -> None:
    lines = [line for told in generate_stories(400, 5) for line in told.story.lines]
    noise = sum(isinstance(line.event, Noise) for line in lines)
    # 0.1 noise sentences after each other sentence; 5,600 of those give 0.1 within 0.016 at four standard errors.
    assert noise / (len(lines) - noise) == pytest.approx(0.1, abs=0.016)
    assert not any(
        isinstance(line.event, Noise) for told in generate_stories(20, 5, noise=0) for line in told.story.lines
    )


def test_in_half_of_its_turns_an_agent_moves_the_object() -> None:
    texts = [line.text for told in generate_stories(400, 6, length=2) for line in told.story.lines]
    moves = sum("moved" in text for text in texts)
    turns = sum("exited" in text for text in texts)
    assert turns == 400 * 8
    assert moves / turns == pytest.approx(0.5, abs=0.036)  # four standard errors


@pytest.mark.parametrize(
    "options",
    [
        {"count": -1}, {"length": 0}, {"length": 4}, {"noise": -0.1}, {"noise": 0.6}, {"noise": float("nan")},
        {"agents": 2}, {"agents": 1000}, {"first": -1},
    ],
)  # fmt: skip
def test_options_outside_are_refused(options: dict[str, int | float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        generate_stories(**{"count": 1, "seed": 0, **options})  # type: ignore[arg-type]


def test_no_paraphrase_is_understood_by_the_grammar() -> None:
    for told in generate_stories(40, 7, length=3, claims=True):
        for grammar in range(GRAMMARS):
            parsed = parse_story(paraphrase_story(told.story, told.index, [grammar]), strict=False)
            assert not parsed.story.lines
            assert [line.number for line in parsed.refused] == [line.number for line in told.story.lines]


def test_a_paraphrase_keeps_every_name_and_is_unlike_the_others() -> None:
    events = [line.event for told in generate_stories(10, 8, claims=True) for line in told.story.lines]
    for event in events:
        worded = [paraphrase(event, grammar) for grammar in range(GRAMMARS)]
        assert len(set(worded)) == GRAMMARS == 5
        for sentence in worded:
            match event:
                case Enter(agents, place) | Exit(agents, place):
                    names = [*agents, place]
                case PrivateClaim(speaker, listener, thing, container):
                    names = [speaker, listener, thing, container]
                case _:
                    names = []
            assert all(name in sentence for name in names)


def test_paraphrases_are_drawn_from_the_grammars_asked_for() -> None:
    (told,) = generate_stories(1, 9)
    assert paraphrase_story(told.story, 1) == paraphrase_story(told.story, 1) != paraphrase_story(told.story, 2)
    own = [f"{n} {paraphrase(line.event, 2)}" for n, line in enumerate(told.story.lines, 1)]
    assert paraphrase_story(told.story, 1, [2]).splitlines() == own
    for grammars in ([], [GRAMMARS]):
        with pytest.raises(InvalidInput, match="grammars"):
            paraphrase_story(told.story, 1, grammars)
