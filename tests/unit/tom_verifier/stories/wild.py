"""Stories that no chapter plan orders: whatever the scene allows may come next."""

from __future__ import annotations

import random

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Line,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.stories.grammar import write_sentence
from assay_tom_verifier.core.stories.scene import Scene

# Two of them are called what events of epistemic models are.
AGENTS = ("Ava", "Ben", "speaker", "claimed")
THINGS = ("kiwi", "fig")
CONTAINERS = ("red_box", "blue_box", "green_box")
PLACES = ("hall", "porch", "waiting_room")


def wild_story(seed: int, lines: int = 30) -> Story:
    """Late comers, claims in full rooms, objects taken up again elsewhere; the kiwi is always located."""
    draw = random.Random(seed)
    scene = Scene()
    events: list[Event] = [Enter(tuple(draw.sample(AGENTS, draw.randint(1, 3))), "hall"), Locate("kiwi", "red_box")]
    for event in events:
        scene.advance(event)
    while len(events) < lines:
        event = _any_event(draw)
        try:
            scene.advance(event)
        except InvalidInput:
            continue
        events.append(event)
    return Story(tuple(Line(number, write_sentence(event), event) for number, event in enumerate(events, 1)))


def _any_event(draw: random.Random) -> Event:
    agent, other = draw.sample(AGENTS, 2)
    thing, container, place = draw.choice(THINGS), draw.choice(CONTAINERS), draw.choice(PLACES)
    return draw.choice(
        (
            Enter(tuple(draw.sample(AGENTS, draw.randint(1, 3))), place),
            Exit((agent,), place),
            Locate(thing, container),
            Move(agent, thing, container),
            Move(agent, thing, container),
            Stay(agent, place),
            PublicClaim(agent, thing, container),
            PrivateClaim(agent, other, thing, container),
            Noise(f"{agent} saw a cat."),
        )
    )
