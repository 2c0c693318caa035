"""Worlds of a diagram one by one, and how many there are."""

from __future__ import annotations

from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.explicit.listed import Listed
from assay_tom_verifier.core.epistemic.explicit.relation import Relation
from assay_tom_verifier.core.epistemic.symbolic.encoding import Encoding
from assay_tom_verifier.core.epistemic.symbolic.manager import HERE, THERE, Diagram, Manager

# CUDD counts in a double.
_EXACT_VARIABLES = 52


def count_exactly(model: Encoding, manager: Manager) -> int:
    """How many valuations of the model's variables its law allows."""
    bdd, size = manager.bdd, len(model.variables)
    if size <= _EXACT_VARIABLES:
        return int(bdd.count(model.law, size))
    # Levels of the model's own variables, in the manager's order, with the leaf below them all.
    level = {bdd.level_of_var(manager.name(i)): 0 for i in model.variables}
    depth = {found: place for place, found in enumerate(sorted(level))}
    known: dict[int, int] = {}

    def below(node: Diagram) -> tuple[int, int]:
        """Valuations of the variables from `node`'s on that end in true, and the place of its variable."""
        if node == bdd.true or node == bdd.false:
            return int(node == bdd.true), size
        place = depth[node.level]
        if int(node) not in known:
            low, high = node.low, node.high
            if node.negated:
                low, high = ~low, ~high
            ways = [(each << (where - place - 1)) for each, where in (below(low), below(high))]
            known[int(node)] = sum(ways)
        return known[int(node)], place

    count, place = below(model.law)
    return count << place


def list_worlds(model: Encoding, agents: tuple[str, ...], atoms: tuple[str, ...], manager: Manager) -> Listed:
    """The same model, listed. Raises ResourceExhausted where it has more worlds than the cap."""
    bdd = manager.bdd
    if (worlds := count_exactly(model, manager)) > manager.setting.limits.worlds:
        raise ResourceExhausted(
            f"model: has {worlds:,} worlds, over the cap of {manager.setting.limits.worlds:,}; ask for formulas "
            "instead of its worlds",
            reason="TOO_MANY_WORLDS",
        )
    here = [manager.name(i) for i in model.variables]
    there = [manager.name(i, THERE) for i in model.variables]
    point = tuple(model.point[i] for i in model.variables)
    found = [point]
    found += [key for pick in bdd.pick_iter(model.law, here) if (key := tuple(pick[name] for name in here)) != point]
    number = {key: place for place, key in enumerate(found)}
    facts = [0] * len(found)
    for j, atom in enumerate(atoms):
        manager.poll()
        for pick in bdd.pick_iter(model.law & model.values[atom], here):
            facts[number[tuple(pick[name] for name in here)]] |= 1 << j
    lawful_there = manager.moved(model.law, model.variables, {HERE: THERE})
    relations = {}
    for agent, relation in model.relations.items():
        pairs = relation.pairs(manager) & lawful_there
        sees = [-1] * len(found)
        clusters: list[tuple[int, ...]] = []
        known: dict[int, int] = {}
        for place, key in enumerate(found):
            manager.poll()
            seen = bdd.let(dict(zip(here, key, strict=True)), pairs) if here else pairs
            if seen == bdd.false:
                continue
            if int(seen) not in known:
                known[int(seen)] = len(clusters)
                picks = bdd.pick_iter(seen, there)
                clusters.append(tuple(sorted(number[tuple(pick[name] for name in there)] for pick in picks)))
            sees[place] = known[int(seen)]
        relations[agent] = Relation(sees, clusters)
    return Listed(agents, atoms, facts, relations, 0, manager.setting)
