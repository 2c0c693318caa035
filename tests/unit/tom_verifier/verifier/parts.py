"""Stories and small networks that several tests of verifiers take."""

from __future__ import annotations

import torch

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.verifier.network import BeliefNetwork, NetworkShape, new_network

TEXT = """1 Owen, Liam and Ava entered the hall.
2 The pear is in the red_box.
3 Owen moved the pear to the blue_crate.
4 Owen exited the hall.
5 Liam likes the red_box.
6 Liam moved the pear to the red_box.
7 Liam exited the hall.
8 Ava exited the hall.
9 Owen, Liam and Ava entered the waiting_room.
10 Liam privately told Owen that the pear is in the green_bottle."""
STORY = parse_story(TEXT).story
QUESTION = Question("pear", ("Liam", "Owen"))
# What Liam thinks Owen thinks: Owen left at line 4; at line 10 Liam tells him, and expects to be believed.
RIGHT = [None, "red_box", *["blue_crate"] * 7, "green_bottle"]


def network(seed: int = 0, width: int = 16, layers: int = 2, heads: int = 2) -> BeliefNetwork:
    """Random weights, in float64 so that equal means equal whatever the order of sums."""
    return new_network(NetworkShape(width, layers, heads), seed).double()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
