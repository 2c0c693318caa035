"""The rules one by one, on stories small enough to answer by hand."""

from __future__ import annotations

import pytest

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Chain, Profile
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.stories.tables import TableEngine

A, B, C = "Ava", "Ben", "Cleo"

# Ava leaves first, then Ben, then Cleo: Ava trusts both, Ben trusts Cleo.
LEAVING = """Ava, Ben and Cleo entered the hall.
The kiwi is in the red_box.
Ava exited the hall.
Ben moved the kiwi to the blue_box.
Ben exited the hall.
Cleo moved the kiwi to the green_box.
Cleo exited the hall.
Ava, Ben and Cleo entered the waiting_room.
"""


def believed(text: str, *chains: Chain, thing: str = "kiwi", profile: Profile = Profile.HITOM) -> list[str | None]:
    """At the story's end."""
    story = parse_story(text).story
    last = TableEngine().believe(story, chains, thing, profile)[-1]
    return [last[chain].container for chain in chains]


def test_whoever_is_in_the_room_sees_and_is_seen_to_see() -> None:
    assert believed(LEAVING, (), (A,), (B,), (C,)) == ["green_box", "red_box", "blue_box", "green_box"]
    assert believed(LEAVING, (B, C), (C, B), (C, A), (C, B, A), (B, C, B)) == [
        "blue_box", "blue_box", "red_box", "red_box", "blue_box",
    ]  # fmt: skip


def test_who_was_never_there_can_tell_nothing() -> None:
    story = "Ava entered the hall.\nThe kiwi is in the red_box.\nBen entered the porch."
    assert believed(story, (A,), (B,), (A, B), (B, A)) == ["red_box", None, None, None]


def test_who_comes_back_sees_where_it_is_by_now() -> None:
    assert believed(LEAVING + "Ava entered the hall.", (A,), (A, B), (B, A)) == ["green_box", "red_box", "red_box"]
    assert believed(LEAVING + "Ava and Ben entered the hall.", (A,), (A, B), (B, A, B)) == ["green_box"] * 3
    assert believed(LEAVING + "Ava entered the porch.", (A,)) == ["red_box"]


def test_the_waiting_room_shows_nothing() -> None:
    assert believed(LEAVING, (A,)) == ["red_box"]


def test_a_public_claim_moves_who_left_earlier_and_what_the_speaker_thinks_of_all() -> None:
    story = LEAVING + "Ben publicly claimed that kiwi is in the tin."
    assert believed(story, (), (A,), (B,), (C,)) == ["green_box", "tin", "blue_box", "green_box"]
    assert believed(story, (B, A), (B, C), (A, B), (C, B)) == ["tin", "tin", "tin", "blue_box"]
    # Third parties and longer chains stay as they were.
    assert believed(story, (A, C), (C, A), (B, A, B), (C, B, A)) == ["red_box"] * 4


def test_a_private_claim_moves_speaker_and_listener_alone() -> None:
    story = LEAVING + "Cleo privately told Ben that the kiwi is in the tin."
    assert believed(story, (A,), (B,), (C,)) == ["red_box", "tin", "green_box"]
    assert believed(story, (C, B), (B, C), (A, B), (C, A)) == ["tin", "tin", "red_box", "red_box"]
    distrusted = LEAVING + "Ava privately told Ben that the kiwi is in the tin."
    assert believed(distrusted, (B,), (B, A), (A, B)) == ["blue_box", "red_box", "tin"]


def test_whoever_is_in_a_room_trusts_nobody_outside_and_is_trusted() -> None:
    back = LEAVING + "Ava entered the porch.\n"
    assert believed(back + "Cleo privately told Ava that the kiwi is in the tin.", (A,)) == ["red_box"]
    assert believed(back + "Ava privately told Cleo that the kiwi is in the tin.", (C,)) == ["tin"]


def test_a_public_claim_is_common_knowledge_where_logic_rules() -> None:
    story = LEAVING + "Ben publicly claimed that kiwi is in the tin."
    ask = [(A,), (C,), (B, A), (C, A), (C, B, A), (B, A, B, A), (A, B), (A, C), (B, C), (C, B)]
    tin, red, blue = "tin", "red_box", "blue_box"
    assert believed(story, *ask, profile=Profile.COMMON_KNOWLEDGE) == [
        tin, "green_box", tin, tin, tin, tin, tin, red, blue, blue,
    ]  # fmt: skip


def test_the_rule_that_fired_is_told_with_its_line() -> None:
    story = parse_story(LEAVING + "Cleo privately told Ben that the kiwi is in the tin.").story
    steps = TableEngine().believe(story, [(), (B,), (C, B)], "kiwi")
    assert [step[(B,)].line for step in steps] == [0, 2, 2, 4, 4, 4, 4, 4, 9]
    assert steps[0][(B,)].rule == "nobody in the chain has seen or heard where it is"
    assert steps[3][(C, B)].rule == "Cleo and Ben were in the hall when Ben moved it"
    assert steps[5][()].rule == "Cleo moved it"
    assert steps[8][(B,)].rule == "Ben heard Cleo say so and trusts Cleo, who left later"
    assert steps[8][(C, B)].rule == "Cleo said so to Ben and expects to be believed"


def test_a_second_object_is_another_matter() -> None:
    story = LEAVING + "Ava entered the porch.\nThe fig is in the red_box.\nAva moved the fig to the tin."
    assert believed(story, (), (A,), (B,)) == ["green_box", "red_box", "blue_box"]
    assert believed(story, (), (A,), (B,), thing="fig") == ["tin", "tin", None]


@pytest.mark.parametrize(
    ("chain", "thing", "why"),
    [
        ((A, "Zoe"), "kiwi", "Zoe never enters the story"),
        ((A,), "fig", "fig is nowhere in the story"),
        ((A, A), "kiwi", "twice in a row"),
        ((A, B, A, B, A), "kiwi", "order 5"),
    ],
)
def test_what_the_story_lacks_cannot_be_asked(chain: Chain, thing: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        TableEngine().believe(parse_story(LEAVING).story, [chain], thing)
