"""The product update of listed worlds; where it is to be pruned, unreachable pairs are never built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.explicit.bits import members
from assay_tom_verifier.core.epistemic.explicit.polling import polled
from assay_tom_verifier.core.epistemic.explicit.relation import Relation
from assay_tom_verifier.core.epistemic.models import EventModel
from assay_tom_verifier.core.epistemic.structure import Meanings, Setting


@dataclass(frozen=True)
class Multiplied:
    """number: of each pair (world, event) that was built. whole: pairs of the product, built or not."""

    number: dict[tuple[int, int], int]
    event_number: dict[str, int]
    facts: list[int]
    relations: dict[str, Relation]
    whole: int


def multiply(
    facts: list[int],
    relations: Mapping[str, Relation],
    atoms: tuple[str, ...],
    present: int,
    events: EventModel,
    meanings: Meanings[int],
    setting: Setting,
    root: int | None,
) -> Multiplied:
    """Pairs (w, e) with e possible at w, of `present` worlds: all, or those reached from (root, events.point).

    Raises ResourceExhausted where |W| * |E| is over the cap, before anything is built.
    """
    names = list(events.events)
    check_room(present, events, setting)
    event_number = {name: number for number, name in enumerate(names)}
    possible = [meanings.pre[name] for name in names]
    event_relations = {agent: _event_relation(events, agent, event_number) for agent in relations}
    if root is None:
        pairs = [(world, e) for e, where in enumerate(possible) for world in members(where)]
    else:
        pairs = [(root, event_number[events.point])]
    number = {pair: new for new, pair in enumerate(pairs)}
    # Appended to while it is walked: a pair is new the first time that some agent's cluster holds it.
    sees: dict[str, list[int]] = {agent: [] for agent in relations}
    clusters: dict[str, list[tuple[int, ...]]] = {agent: [] for agent in relations}
    met: dict[str, dict[tuple[int, int], int]] = {agent: {} for agent in relations}
    walk = [
        (relation, event_relations[agent], sees[agent], clusters[agent], met[agent])
        for agent, relation in relations.items()
    ]
    for count, (world, e) in enumerate(pairs):
        if count % 256 == 0:
            setting.cancel.check()
        for relation, event_relation, seen, found, known in walk:
            key = (relation.sees[world], event_relation.sees[e])
            cluster = known.get(key)
            if cluster is None:
                inside = []
                if key[0] >= 0 and key[1] >= 0:
                    for f in event_relation.clusters[key[1]]:
                        where = possible[f]
                        for v in relation.clusters[key[0]]:
                            if where >> v & 1:
                                new = number.get((v, f))
                                if new is None:
                                    number[v, f] = new = len(pairs)
                                    pairs.append((v, f))
                                inside.append(new)
                cluster = len(found) if inside else -1
                if inside:
                    found.append(tuple(inside))
                known[key] = cluster
            seen.append(cluster)
    changed = _changed(facts, atoms, names, meanings, pairs, setting.cancel)
    return Multiplied(
        number,
        event_number,
        changed,
        {agent: Relation(sees[agent], clusters[agent]) for agent in relations},
        sum(where.bit_count() for where in possible),
    )


def check_room(present: int, events: EventModel, setting: Setting) -> None:
    """Raises ResourceExhausted where |W| * |E| is over the cap."""
    worlds = present.bit_count()
    if (asked := worlds * len(events.events)) > setting.limits.worlds:
        raise ResourceExhausted(
            f"event {events.name}: {worlds:,} worlds times {len(events.events)} events are {asked:,}, over the cap of "
            f"{setting.limits.worlds:,}; use the bdd backend, or raise the cap",
            reason="TOO_MANY_WORLDS",
        )


def _event_relation(events: EventModel, agent: str, number: Mapping[str, int]) -> Relation:
    clusters: dict[frozenset[str], int] = {}
    declared = events.relations[agent]
    sees = [clusters.setdefault(frozenset(declared[name]), len(clusters)) for name in number]
    return Relation(sees, [tuple(sorted(number[name] for name in cluster)) for cluster in clusters])


def _changed(
    facts: list[int],
    atoms: tuple[str, ...],
    names: list[str],
    meanings: Meanings[int],
    pairs: list[tuple[int, int]],
    cancel: CancelToken,
) -> list[int]:
    """The facts of each pair: those of its world, with what its event assigns."""
    assigned = [
        [(1 << atoms.index(atom), where) for atom, where in meanings.post.get(name, {}).items()] for name in names
    ]
    changed = []
    for world, e in polled(pairs, cancel):
        fact = facts[world]
        for bit, where in assigned[e]:
            fact = fact | bit if where >> world & 1 else fact & ~bit
        changed.append(fact)
    return changed
