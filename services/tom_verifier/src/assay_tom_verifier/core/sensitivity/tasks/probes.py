"""What theory of mind needs and is not: finding a word by where it stands, and reading a sentence aright."""

from __future__ import annotations

from random import Random

from assay_tom_verifier.core.sensitivity.tasks.item import Cell, Item
from assay_tom_verifier.core.sensitivity.tasks.words import CONTENTS, NAMES, PACKAGES, PLACES, THINGS

LISTED = 4


def localisation(number: int, random: Random) -> list[Item]:
    """Contextual localisation: of LISTED sentences that are alike but for two words, each in turn is asked about."""
    listed = list(zip(random.sample(THINGS, LISTED), random.sample(PLACES, LISTED), strict=True))
    story = " ".join(f"The {thing} is in the {place}." for thing, place in listed)
    items = []
    for at, (thing, place) in enumerate(listed):
        foil = random.choice([other for _, other in listed if other != place])
        cell = Cell("localisation", number, f"sentence {at + 1}", False)
        items.append(Item(cell, "reality", story, f"Where is the {thing}? It is in the", place, foil))
    return items


def language(number: int, random: Random) -> list[Item]:
    """Language understanding: negation, who gave and who got, and a comparison turned round; nobody's mind in it."""
    package, name, friend = random.choice(PACKAGES), *random.sample(NAMES, 2)
    one, other = random.sample(CONTENTS, 2)
    thing = random.choice(THINGS)
    compared, given = f"{name} is taller than {friend}.", f"{name} gives the {thing} to {friend}."
    filled = f"So the {package} is full of"
    told = {
        "negation": (f"The {package} is not full of {one} but of {other}.", filled, other, one),
        "negation last": (f"The {package} is full of {one} and not of {other}.", filled, one, other),
        "giver": (given, f"The one who had the {thing} at first is", name, friend),
        "receiver": (given, f"The one who has the {thing} now is", friend, name),
        "taller": (compared, "The taller one of the two is", name, friend),
        "shorter": (compared, "The shorter one of the two is", friend, name),
    }
    return [Item(Cell("language", number, condition, False), "reality", *parts) for condition, parts in told.items()]
