"""The features that a step of a story is told in to a small model, and how many of each there are.

A line of a story is one position of the model, and what stands there is the sum of the line's features: its kind, who
acts, which container. Names are gone: agents, containers and places bear the number that `relabel` gives them.
"""

from __future__ import annotations

from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
)

MOST_AGENTS = 8
MOST_CONTAINERS = 24
MOST_PLACES = 6
MOST_ORDER = 4
MOST_STEPS = 256

# What a belief slot may hold: a container, nobody can tell yet, or a claim that names no container of the story.
NULL = MOST_CONTAINERS
OUTSIDE = MOST_CONTAINERS + 1
BELIEFS = MOST_CONTAINERS + 2
# What a model can be asked to predict: OUTSIDE is never anyone's belief.
PREDICTED = MOST_CONTAINERS + 1

KINDS: dict[type[Event], int] = {
    kind: index for index, kind in enumerate((Enter, Exit, Locate, Move, Stay, PublicClaim, PrivateClaim, Noise))
}

KIND = 0
ORDER = KIND + len(KINDS)
CHAIN = ORDER + MOST_ORDER + 1
ACTOR = CHAIN + MOST_ORDER * MOST_AGENTS
LISTENER = ACTOR + MOST_AGENTS
CONTAINER = LISTENER + MOST_AGENTS
PLACE = CONTAINER + MOST_CONTAINERS
WAITING = PLACE + MOST_PLACES
OTHER_THING = WAITING + 1
FEATURES = OTHER_THING + 1
