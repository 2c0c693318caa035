"""The fixed templates that a model is examined on, and endless others in the same words for what learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from assay_tom_verifier.core.sensitivity.tasks import irony, probes, unexpected_contents, unexpected_transfer
from assay_tom_verifier.core.sensitivity.tasks.item import Item, Task
from assay_tom_verifier.core.sensitivity.tasks.words import NAMES

PROBES_EACH = 40
_TELLING = (unexpected_contents, unexpected_transfer, irony)
# Away from every seed that templates are drawn with.
_SUITE = "suite"


def suite(seed: int) -> list[Item]:
    """All items of the 20 + 20 + 12 fixed templates, and PROBES_EACH texts of each probe; the seed draws the names.

    320 items of each of the two false-belief tasks, 96 of irony, 160 of localisation, 240 of language.
    """
    items: list[Item] = []
    for task in _TELLING:
        for number, template in enumerate(task.TEMPLATES):
            name, friend = Random(f"{_SUITE} {seed} {task.__name__} {number}").sample(NAMES, 2)
            items.extend(template.items(number, name, friend))
    for probe in (probes.localisation, probes.language):
        for number in range(PROBES_EACH):
            items.extend(probe(number, Random(f"{_SUITE} {seed} {probe.__name__} {number}")))
    return items


def drawn_items(seed: int, task: Task) -> Iterator[list[Item]]:
    """Without end: the items of one drawn text after the other; none is of a fixed template."""
    random = Random(f"drawn {seed} {task}")
    telling = {"unexpected-contents": unexpected_contents, "unexpected-transfer": unexpected_transfer, "irony": irony}
    number = 0
    while True:
        if task in telling:
            name, friend = random.sample(NAMES, 2)
            yield telling[task].draw(random).items(number, name, friend)
        else:
            yield (probes.localisation if task == "localisation" else probes.language)(number, random)
        number += 1
