"""When drafting stops."""

from __future__ import annotations

from assay_inference_optimizer.core.early_exit.draft_length import Costs, DraftLength


def taught(confidence: float, kept: bool, rounds: int = 60) -> DraftLength:
    """After `rounds` rounds of one draft, of 2 lower layers of 8 and a head of 0.5 layers."""
    length = DraftLength(6, Costs(draft=2.0, head=0.5, verify=6.0))
    for _ in range(rounds):
        length.begin()
        length.end([confidence], int(kept), spent=1)
    return length


def drafted(length: DraftLength, confidence: float, room: int = 100) -> int:
    length.begin()
    count = 0
    while length.probe(count, room) and length.spend(confidence):
        count += 1
    return count


def test_drafts_that_always_hold_are_drafted_to_the_limit() -> None:
    assert drafted(taught(0.95, True), 0.95) == 6
    assert drafted(taught(0.95, True), 0.95, room=2) == 2


def test_drafts_that_never_hold_are_not_passed_on() -> None:
    # One pass of the lower layers costs 2 of 8.5: a chance below a quarter is not worth it.
    assert drafted(taught(0.95, False), 0.95) == 0


def test_the_chain_ends_where_its_chance_no_longer_pays() -> None:
    # Half of the drafts at this confidence hold. 1.5 tokens a round of 11 give 0.136 a unit: a pass
    # of 2 must have a chance above 0.27, so 1/2 pays and 1/4 does not.
    length = DraftLength(6, Costs(draft=2.0, head=0.5, verify=6.0))
    for index in range(200):
        length.begin()
        length.end([0.55], index % 2, spent=1)
    assert drafted(length, 0.55) == 1


def test_hopeless_probing_is_tried_now_and_then_only() -> None:
    # A head of 15 layers, as Fox-1's: looking costs more than drafting could save.
    length = DraftLength(6, Costs(draft=4.0, head=15.0, verify=28.0))
    for _ in range(64):
        length.begin()
        length.end([0.5], 0, spent=1)
    looks = 0
    for _ in range(64):
        length.begin()
        looks += length.probe(0, 100)
    assert looks == 4


def test_measured_costs_replace_the_assumed() -> None:
    # By multiply-adds the lower layers are a quarter of a pass; on this machine they turn out to be nearly all of it.
    length = DraftLength(6, Costs(draft=2.0, head=0.5, verify=6.0))
    for _ in range(40):
        length.begin()
        length.end([0.75], 1, spent=1, measured=Costs(draft=0.9, head=0.05, verify=0.1))
    assert drafted(length, 0.75) == 0


def test_a_token_looked_at_and_left_teaches_as_well() -> None:
    # Nothing is ever passed on at this confidence; that it would have been right is seen all the same.
    length = DraftLength(6, Costs(draft=2.0, head=0.5, verify=6.0))
    for _ in range(40):
        length.begin()
        length.end([0.05], 0, spent=0)
    assert drafted(length, 0.05) == 0
    for _ in range(200):
        length.begin()
        length.end([0.05], 1, spent=0)
    assert drafted(length, 0.05) > 2
