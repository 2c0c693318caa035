"""Random models, event models and formulas, small and of every kind."""

from __future__ import annotations

import random

from assay_tom_verifier.core.epistemic import formulas as f
from assay_tom_verifier.core.epistemic.models import EpistemicModel, Event, EventModel, Frame, KnowledgeStructure

ATOMS = ("p", "q", "r")


def random_relation(rng: random.Random, points: list[str], frame: Frame) -> dict[str, tuple[str, ...]]:
    """Every point sees one class; under KD45 some belong to none and see one all the same."""
    shuffled = rng.sample(points, len(points))
    inside = len(points) if frame is Frame.S5 else rng.randint(1, len(points))
    classes: list[list[str]] = []
    for point in shuffled[:inside]:
        if classes and rng.random() < 0.6:
            rng.choice(classes).append(point)
        else:
            classes.append([point])
    relation = {point: tuple(sorted(each)) for each in classes for point in each}
    for point in shuffled[inside:]:
        relation[point] = tuple(sorted(rng.choice(classes)))
    return relation


def random_formula(rng: random.Random, agents, events: list[EventModel], depth: int, *, boolean: bool = False):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([f.Atom(a) for a in ATOMS] * 3 + [f.TRUE, f.FALSE])

    def inner():
        return random_formula(rng, agents, events, depth - 1, boolean=boolean)

    group = tuple(rng.sample(agents, rng.randint(1, len(agents))))
    kinds = ["not", "and", "or", "implies", "iff"]
    if not boolean:
        kinds += ["knows", "believes", "whether", "common", "distributed", "announced"] + ["after"] * bool(events)
    match rng.choice(kinds):
        case "not":
            return f.Not(inner())
        case "and":
            return f.And(tuple(inner() for _ in range(rng.randint(2, 3))))
        case "or":
            return f.Or(tuple(inner() for _ in range(rng.randint(2, 3))))
        case "implies":
            return f.Implies(inner(), inner())
        case "iff":
            return f.Iff(inner(), inner())
        case "knows":
            return f.Knows(rng.choice(agents), inner())
        case "believes":
            return f.Believes(rng.choice(agents), inner())
        case "whether":
            return f.KnowsWhether(rng.choice(agents), inner())
        case "common":
            return f.Common(group, inner())
        case "distributed":
            return f.Distributed(group, inner())
        case "announced":
            return f.Announced(inner(), inner())
        case "after":
            model = rng.choice(events)
            return f.After(model, rng.choice(list(model.events)), inner())


def random_model(rng: random.Random):
    agents = tuple("abc"[: rng.randint(1, 3)])
    if rng.random() < 0.3:
        law = random_formula(rng, agents, [], 2, boolean=True)
        actual = [atom for atom in ATOMS if rng.random() < 0.5]
        here = f.And(tuple(f.Atom(a) if a in actual else f.Not(f.Atom(a)) for a in ATOMS))
        observes = {agent: [atom for atom in ATOMS if rng.random() < 0.5] for agent in agents}
        return KnowledgeStructure(agents, ATOMS, f.Or((law, here)), observes, actual)
    frame = rng.choice([Frame.S5, Frame.KD45])
    worlds = {f"w{i}": [atom for atom in ATOMS if rng.random() < 0.5] for i in range(rng.randint(1, 6))}
    relations = {agent: random_relation(rng, list(worlds), frame) for agent in agents}
    return EpistemicModel(agents, ATOMS, worlds, relations, rng.choice(list(worlds)), frame)


def random_events(rng: random.Random, agents, name: str = "x", within: list[EventModel] | None = None):
    frame = rng.choice([Frame.S5, Frame.KD45])
    events = {}
    for i in range(rng.randint(1, 4)):
        pre = f.TRUE if rng.random() < 0.3 else random_formula(rng, agents, within or [], 2)
        post = {a: random_formula(rng, agents, [], rng.randint(0, 2)) for a in ATOMS if rng.random() < 0.3}
        events[f"e{i}"] = Event(pre, post)
    relations = {agent: random_relation(rng, list(events), frame) for agent in agents}
    return EventModel(name, events, relations, rng.choice(list(events)), frame)
