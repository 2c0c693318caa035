"""The product update of listed worlds; where it is to be pruned, unreachable pairs are never built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.explicit.bits import members
from assay_tom_verifier.core.epistemic.explicit.polling import polled
from assay_tom_verifier.core.epistemic.explicit.relation import Relation
from assay_tom_verifier.core.epistemic.models import EventModel
from assay_tom_verifier.core.epistemic.structure import Meanings, Setting

# Clusters of more worlds are looked through with a look at cancellation on the way.
_LONG = 4096


@dataclass(frozen=True)
class Multiplied:
    """number: of each pair that was built, itself world * events + event. whole: pairs of the product, built or not."""

    number: dict[int, int]
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
    # Python sets, since to look up one bit of a large int is to shift all of it; most events share one.
    sets = {where: set(members(where)) for where in {*meanings.pre.values(), *_assigned(meanings)}}
    possible = [sets[meanings.pre[name]] for name in names]
    size, cancel = len(names), setting.cancel
    event_relations = {}
    for agent in relations:
        cancel.check()
        event_relations[agent] = _event_relation(events, agent, event_number)
    # A pair is one number, world * size + event: a million tuples would hold up every garbage collection.
    if root is None:
        pairs = [world * size + e for e, where in enumerate(possible) for world in sorted(where)]
    else:
        pairs = [root * size + event_number[events.point]]
    number = {pair: new for new, pair in enumerate(pairs)}
    sees: dict[str, list[int]] = {agent: [] for agent in relations}
    clusters: dict[str, list[tuple[int, ...]]] = {agent: [] for agent in relations}
    walk = [
        (relation, event_relations[agent], sees[agent], clusters[agent], dict[int, int]())
        for agent, relation in relations.items()
    ]
    # Appended to while it is walked: a pair is new the first time that some agent's cluster holds it.
    for pair in polled(pairs, cancel):
        world, e = divmod(pair, size)
        for relation, event_relation, seen, found, known in walk:
            of_world, of_event = relation.sees[world], event_relation.sees[e]
            if of_world < 0:
                seen.append(-1)
                continue
            key = of_world * size + of_event
            cluster = known.get(key)
            if cluster is None:
                cancel.check()
                inside = []
                belonging = relation.clusters[of_world]
                for f in event_relation.clusters[of_event]:
                    where = possible[f]
                    for v in belonging if len(belonging) < _LONG else polled(belonging, cancel):
                        if v in where:
                            new = number.get(v * size + f)
                            if new is None:
                                number[v * size + f] = new = len(pairs)
                                pairs.append(v * size + f)
                            inside.append(new)
                known[key] = cluster = len(found) if inside else -1
                if inside:
                    found.append(tuple(inside))
            seen.append(cluster)
    changed = _changed(facts, atoms, names, meanings, sets, pairs, setting.cancel)
    return Multiplied(
        number,
        event_number,
        changed,
        {agent: Relation(sees[agent], clusters[agent]) for agent in relations},
        sum(len(where) for where in possible),
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


def _assigned(meanings: Meanings[int]) -> Iterator[int]:
    for assigned in meanings.post.values():
        yield from assigned.values()


def _changed(
    facts: list[int],
    atoms: tuple[str, ...],
    names: list[str],
    meanings: Meanings[int],
    sets: Mapping[int, set[int]],
    pairs: list[int],
    cancel: CancelToken,
) -> list[int]:
    """The facts of each pair: those of its world, with what its event assigns."""
    assigned = [
        [(1 << atoms.index(atom), sets[where]) for atom, where in meanings.post[name].items()] for name in names
    ]
    changed = []
    for world, e in (divmod(pair, len(names)) for pair in polled(pairs, cancel)):
        fact = facts[world]
        for bit, where in assigned[e]:
            fact = fact | bit if world in where else fact & ~bit
        changed.append(fact)
    return changed
