"""Whether declarations are what they say: known names, relations of their frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.formulas import (
    After,
    Announced,
    Atom,
    Believes,
    Common,
    Distributed,
    Formula,
    Knows,
    KnowsWhether,
    check_depth,
    parts,
)
from assay_tom_verifier.core.epistemic.models import (
    EpistemicModel,
    EventModel,
    Frame,
    Model,
    Relations,
)


def check_model(model: Model) -> None:
    """Raises InvalidInput naming the part at fault; of a law that is too deep, ResourceExhausted."""
    _check_distinct(model.agents, "agents")
    _check_distinct(model.atoms, "atoms")
    if isinstance(model, EpistemicModel):
        if not model.worlds:
            raise InvalidInput("worlds", "are none; declare one at least")
        for world, facts in model.worlds.items():
            _check_known(facts, model.atoms, f"world {world}", "atom")
        _check_known([model.point], model.worlds, "point", "world")
        _check_known(model.relations, model.agents, "relations", "agent")
        check_relations(model.relations, model.agents, model.worlds, model.frame, "relation")
        return
    check_formula(model.law, model.agents, model.atoms, "law")
    if not _is_boolean(model.law):
        raise InvalidInput("law", "speaks of agents; say what is true of valuations, and announce the rest")
    _check_known(model.observes, model.agents, "observes", "agent")
    for agent, observed in model.observes.items():
        _check_known(observed, model.atoms, f"observes {agent}", "atom")
    _check_known(model.actual, model.atoms, "actual", "atom")


def check_events(events: EventModel, agents: Sequence[str], atoms: Collection[str]) -> None:
    """Raises InvalidInput where `events` does not fit a model of `agents` and `atoms`."""
    where = f"event {events.name}"
    if events.frame is Frame.K45:
        raise InvalidInput(f"{where}, frame", "is K45, which is of models alone; declare KD45 or S5")
    _check_known([events.point], events.events, f"{where}, point", "event")
    check_relations(events.relations, agents, events.events, events.frame, f"{where}, relation")
    for name, event in events.events.items():
        check_formula(event.pre, agents, atoms, f"{where}, {name}, pre")
        _check_known(event.post, atoms, f"{where}, {name}, post", "atom")
        for atom, value in event.post.items():
            check_formula(value, agents, atoms, f"{where}, {name}, post {atom}")


def check_formula(formula: Formula, agents: Collection[str], atoms: Collection[str], field: str = "formula") -> None:
    """Raises InvalidInput where `formula` names what the model lacks, ResourceExhausted where it is too deep."""
    check_depth(formula, field)
    for part in parts(formula):
        match part:
            case Atom(name):
                if name not in atoms:
                    _check_known([name], atoms, field, "atom")
            case Knows(agent, _) | Believes(agent, _) | KnowsWhether(agent, _):
                _check_known([agent], agents, field, "agent")
            case Common(group, _) | Distributed(group, _):
                if not group:
                    raise InvalidInput(field, "has a group of no one; name its agents")
                _check_known(group, agents, field, "agent")
            case After(events, event, _):
                _check_known([event], events.events, field, "event")
                check_relations(events.relations, agents, events.events, events.frame, f"event {events.name}, relation")
                for each in events.events.values():
                    _check_known(each.post, atoms, f"event {events.name}, post", "atom")


def check_relations(
    relations: Relations, agents: Collection[str], points: Collection[str], frame: Frame, field: str
) -> None:
    """Raises InvalidInput where an agent's relation over `points` is none of `frame`.

    A relation is transitive and Euclidean exactly where every successor of a world sees what that world sees.
    """
    for agent in agents:
        if agent not in relations:
            raise InvalidInput(f"{field} {agent}", "is missing; say what the agent holds possible where")
        _check_known(relations[agent], points, f"{field} {agent}", "point")
        seen = successor_sets(relations[agent], points)
        checked: set[int] = set()
        for point, successors in seen.items():
            if not successors and frame is not Frame.K45:
                raise InvalidInput(
                    f"{field} {agent}", f"is not serial: nothing is possible at {point}; name what {agent} sees there"
                )
            if id(successors) not in checked:
                checked.add(id(successors))
                _check_known(successors, points, f"{field} {agent}", "point")
                if other := next((each for each in successors if seen[each] is not successors), None):
                    raise InvalidInput(
                        f"{field} {agent}",
                        f"is not transitive and Euclidean: {point} leads to {other}, which sees others; "
                        "let both see the same",
                    )
            if frame is Frame.S5 and point not in successors:
                raise InvalidInput(
                    f"{field} {agent}", f"is not reflexive at {point}, as S5 has it; add it, or declare KD45"
                )


def successor_sets(relation: Mapping[str, Collection[str]], points: Collection[str]) -> dict[str, frozenset[str]]:
    """What each point sees; equal sets are one object, and a class that many points share is read once."""
    read: dict[int, frozenset[str]] = {}
    equal: dict[frozenset[str], frozenset[str]] = {}
    sets = {}
    for point in points:
        declared = relation.get(point, ())
        if id(declared) not in read:
            found = frozenset(declared)
            read[id(declared)] = equal.setdefault(found, found)
        sets[point] = read[id(declared)]
    return sets


def _is_boolean(formula: Formula) -> bool:
    modal = (Knows, Believes, KnowsWhether, Common, Distributed, Announced, After)
    return not any(isinstance(part, modal) for part in parts(formula))


def _check_distinct(names: Sequence[str], field: str) -> None:
    if len(set(names)) < len(names):
        raise InvalidInput(field, f"name {next(n for n in names if names.count(n) > 1)} twice; name each once")


def _check_known(names: Collection[str], known: Collection[str], field: str, kind: str) -> None:
    for name in names:
        if name not in known:
            raise InvalidInput(field, f"names {kind} {name}, which is not declared; declare it, or mend the name")
