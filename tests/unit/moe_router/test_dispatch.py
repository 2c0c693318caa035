"""Which slot a token takes, against a plain loop."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assay_moe_router.core.dispatch import ReplicaChoice

EXPERTS = 4
plans = st.lists(st.integers(0, EXPERTS - 1), max_size=7).map(lambda replicas: (*range(EXPERTS), *replicas))
batches = st.tuples(st.integers(0, 12), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        st.lists(
            st.lists(st.integers(-1, EXPERTS + 1), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0], max_size=shape[0],
        ),
        st.lists(st.booleans(), min_size=shape[0], max_size=shape[0]),
        st.just(shape[1]),
    )
)  # fmt: skip


def loop(slot_experts: tuple[int, ...], choices: list[list[int]], real: list[bool]) -> list[list[int]]:
    """The i-th real choice of an expert, in reading order, takes its (i mod c)-th slot."""
    arrived = dict.fromkeys(range(EXPERTS), 0)
    taken = []
    for token, is_real in zip(choices, real, strict=True):
        row = []
        for expert in token:
            if expert not in arrived:
                row.append(len(slot_experts))
                continue
            slots = [slot for slot, owner in enumerate(slot_experts) if owner == expert]
            row.append(slots[arrived[expert] % len(slots)] if is_real else slots[0])
            arrived[expert] += is_real
        taken.append(row)
    return taken


def slots_of(slot_experts: tuple[int, ...], choices: list[list[int]], real: list[bool], k: int) -> Tensor:
    index = torch.tensor(choices, dtype=torch.int64).view(-1, k)
    return ReplicaChoice(slot_experts, EXPERTS).slots(index, torch.tensor(real, dtype=torch.bool))


@given(plans, batches)
def test_slots_are_those_of_a_plain_loop(
    slot_experts: tuple[int, ...], batch: tuple[list[list[int]], list[bool], int]
) -> None:
    assert slots_of(slot_experts, *batch).tolist() == loop(slot_experts, batch[0], batch[1])


@given(plans, batches)
def test_slots_of_an_expert_differ_by_one_token_at_most_and_are_its_own(
    slot_experts: tuple[int, ...], batch: tuple[list[list[int]], list[bool], int]
) -> None:
    choices, real, k = batch
    slots = slots_of(slot_experts, *batch)
    assert torch.equal(slots, slots_of(slot_experts, *batch))  # the same batch takes the same slots
    index = torch.tensor(choices, dtype=torch.int64).view(-1, k)
    owners = torch.tensor([*slot_experts, -9])[slots]
    ours = (index >= 0) & (index < EXPERTS)
    assert torch.equal(owners[ours], index[ours])
    assert (slots[~ours] == len(slot_experts)).all()
    counted = torch.bincount(slots[torch.tensor(real, dtype=torch.bool)].flatten(), minlength=len(slot_experts) + 1)
    for expert in range(EXPERTS):
        counts = [int(counted[slot]) for slot, owner in enumerate(slot_experts) if owner == expert]
        assert max(counts) - min(counts) <= 1


@given(plans, batches, st.integers(0, 12))
def test_padding_moves_no_real_token(
    slot_experts: tuple[int, ...], batch: tuple[list[list[int]], list[bool], int], place: int
) -> None:
    choices, real, k = batch
    place = min(place, len(choices))
    padded = [*choices[:place], [0] * k, *choices[place:]], [*real[:place], False, *real[place:]], k
    with_padding = slots_of(slot_experts, *padded).tolist()
    assert [*with_padding[:place], *with_padding[place + 1 :]] == slots_of(slot_experts, *batch).tolist()


def test_three_slots_take_turns() -> None:
    # Expert 1 has slots 1, 4, 5; expert 0 arrives between and takes no turn of its.
    index = torch.tensor([[1], [0], [1], [1], [1], [0]])
    slots = ReplicaChoice((0, 1, 2, 3, 1, 1), EXPERTS).slots(index, torch.ones(6, dtype=torch.bool))
    assert slots.flatten().tolist() == [1, 0, 4, 5, 1, 0]
