"""Models, knowledge structures and event models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.formulas import TRUE, Formula
from assay_tom_verifier.core.epistemic.frames import check_events, check_model
from assay_tom_verifier.core.epistemic.models import (
    EpistemicModel,
    Event,
    EventModel,
    Frame,
    KnowledgeStructure,
)
from assay_tom_verifier.core.epistemic.syntax.expressions import read_formula
from assay_tom_verifier.core.epistemic.syntax.scope import Scope
from assay_tom_verifier.core.epistemic.syntax.tokens import NEWLINE, NO_ARROWS, Reader, Token

ModelT = TypeVar("ModelT", EpistemicModel, KnowledgeStructure, EventModel)


class _Lines:
    """The lines of a block, each met once at most unless it declares one of several."""

    def __init__(self, reader: Reader, head: Token, allowed: Sequence[str], repeated: Collection[str]) -> None:
        self.reader, self.head = reader, head
        self.allowed, self.repeated = allowed, repeated
        self.met: set[str] = set()

    def next(self) -> str | None:
        """The next line's keyword, taken; None at `end`, which is taken too."""
        reader = self.reader
        if reader.accept_word("end"):
            reader.end_line()
            return None
        if not reader.at_word(*self.allowed):
            raise reader.error(f"expected 'end' or one of {', '.join(self.allowed)}; found {reader.found}")
        token = reader.take()
        if token.text in self.met and token.text not in self.repeated:
            raise reader.error(f"{token.text} stands here for the second time; keep one", token)
        self.met.add(token.text)
        return token.text

    def require(self, *keywords: str) -> None:
        for keyword in keywords:
            if keyword not in self.met:
                raise self.reader.error(f"this {self.head.text} has no {keyword}; give it a line", self.head)


def read_model(reader: Reader, head: Token) -> EpistemicModel:
    """From after `model` to `end`."""
    lines = _Lines(reader, head, ("frame", "agents", "atoms", "world", "relation", "point"), ("world", "relation"))
    reader.end_line()
    frame, point = Frame.KD45, ""
    agents: list[str] = []
    atoms: list[str] = []
    worlds: dict[str, tuple[str, ...]] = {}
    relations: dict[str, dict[str, tuple[str, ...]]] = {}
    while (keyword := lines.next()) is not None:
        if keyword == "frame":
            frame = Frame(reader.name("frame", [each.value for each in Frame]))
        elif keyword == "agents":
            agents = reader.names("agent")
        elif keyword == "atoms":
            atoms = _maybe_names(reader, "atom")
        elif keyword == "world":
            name = _new_name(reader, "world", worlds)
            reader.expect(":")
            worlds[name] = tuple(_maybe_names(reader, "atom", atoms))
        elif keyword == "relation":
            _read_relations(reader, relations, agents, worlds, "world")
        else:
            point = reader.name("world", worlds)
        reader.end_line()
    lines.require("agents", "world", "point")
    return _checked(
        reader, head, EpistemicModel(tuple(agents), tuple(atoms), worlds, relations, point, frame), check_model
    )


def read_structure(reader: Reader, head: Token) -> KnowledgeStructure:
    """From after `structure` to `end`."""
    lines = _Lines(reader, head, ("agents", "atoms", "law", "observes", "actual"), ("observes",))
    reader.end_line()
    law: Formula = TRUE
    agents: list[str] = []
    atoms: list[str] = []
    actual: list[str] = []
    observes: dict[str, tuple[str, ...]] = {}
    while (keyword := lines.next()) is not None:
        if keyword == "agents":
            agents = reader.names("agent")
        elif keyword == "atoms":
            atoms = _maybe_names(reader, "atom")
        elif keyword == "law":
            law = read_formula(reader, Scope.of(tuple(agents), tuple(atoms)))
        elif keyword == "observes":
            observers = reader.names("agent", agents)
            reader.expect(":")
            observed = tuple(_observed(reader, atoms))
            for agent in observers:
                if agent in observes:
                    raise reader.error(f"{agent} observes twice; keep one of the lines")
                observes[agent] = observed
        else:
            actual = _maybe_names(reader, "atom", atoms)
        reader.end_line()
    lines.require("agents", "atoms")
    return _checked(
        reader, head, KnowledgeStructure(tuple(agents), tuple(atoms), law, observes, tuple(actual)), check_model
    )


def read_events(reader: Reader, head: Token, scope: Scope) -> EventModel:
    """From after `events` to `end`."""
    name = _new_name(reader, "event model", scope.events)
    lines = _Lines(reader, head, ("frame", "event", "relation", "point"), ("event", "relation"))
    reader.end_line()
    frame, point = Frame.KD45, ""
    events: dict[str, Event] = {}
    relations: dict[str, dict[str, tuple[str, ...]]] = {}
    while (keyword := lines.next()) is not None:
        if keyword == "frame":
            frame = Frame(reader.name("frame", [each.value for each in Frame]))
        elif keyword == "event":
            event = _new_name(reader, "event", events)
            reader.expect(":")
            events[event] = _read_event(reader, scope)
        elif keyword == "relation":
            _read_relations(reader, relations, scope.agents, events, "event")
        else:
            point = reader.name("event", events)
        reader.end_line()
    lines.require("event", "point")
    model = EventModel(name, events, relations, point, frame)
    return _checked(reader, head, model, lambda each: check_events(each, scope.agents or (), scope.atoms or ()))


def _read_event(reader: Reader, scope: Scope) -> Event:
    pre = read_formula(reader, scope) if reader.accept_word("pre") else TRUE
    post: dict[str, Formula] = {}
    if reader.accept_word("post"):
        while True:
            atom = _new_name(reader, "atom", post, scope.atoms)
            reader.expect(":=")
            post[atom] = read_formula(reader, scope)
            if not reader.accept(","):
                break
    return Event(pre, post)


def _read_relations(
    reader: Reader,
    relations: dict[str, dict[str, tuple[str, ...]]],
    agents: Sequence[str] | None,
    points: Collection[str],
    what: str,
) -> None:
    """`a, b: w0, w1 -> w0; w2 -> w2`, `a, b: {w0, w1} {w2}` or `a, b: none`; each of several agents has its own."""
    head = reader.token
    named = reader.names("agent", agents)
    if again := next((agent for agent in named if agent in relations), None):
        raise reader.error(f"{again} has two relations; keep one of the lines", head)
    reader.expect(":")
    relation: dict[str, tuple[str, ...]] = {}
    if reader.at("{") or reader.token.kind == NEWLINE:
        while reader.accept("{"):
            inside = tuple(reader.names(what, points))
            reader.expect("}")
            for point in inside:
                if point in relation:
                    raise reader.error(f"{point} is in two classes; keep it in one")
                relation[point] = inside
        for point in points:
            relation.setdefault(point, (point,))
    elif reader.at_word(NO_ARROWS) and not reader.ahead("->") and not reader.ahead(","):
        reader.take()
    else:
        while True:
            sources = reader.names(what, points)
            reader.expect("->")
            seen = tuple(reader.names(what, points))
            for point in sources:
                if point in relation:
                    raise reader.error(f"{point} stands left of two arrows; keep one")
                relation[point] = seen
            if not reader.accept(";"):
                break
    for agent in named:
        relations[agent] = relation


def _observed(reader: Reader, atoms: Sequence[str]) -> list[str]:
    if not reader.accept_word("all"):
        return _maybe_names(reader, "atom", atoms)
    hidden = reader.names("atom", atoms) if reader.accept_word("but") else []
    return [atom for atom in atoms if atom not in hidden]


def _maybe_names(reader: Reader, what: str, known: Collection[str] | None = None) -> list[str]:
    return [] if reader.token.kind == NEWLINE else reader.names(what, known)


def _new_name(reader: Reader, what: str, taken: Collection[str], known: Collection[str] | None = None) -> str:
    token = reader.token
    name = reader.name(what, known)
    if name in taken:
        raise reader.error(f"{what} {name} is there already; choose another name", token)
    return name


def _checked(reader: Reader, head: Token, made: ModelT, check: Callable[[ModelT], None]) -> ModelT:
    try:
        check(made)
    except InvalidInput as error:
        raise InvalidInput(reader.field, f"line {head.line}: {error.message}", reason=error.reason) from error
    return made
