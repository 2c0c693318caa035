"""Declarations and formulas as text that reads back as the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.formulas import (
    TRUE,
    After,
    And,
    Announced,
    Atom,
    Believes,
    Common,
    Constant,
    Distributed,
    Formula,
    Iff,
    Implies,
    Knows,
    KnowsWhether,
    Not,
    Or,
    check_depth,
    children,
)
from assay_tom_verifier.core.epistemic.models import EpistemicModel, Event, EventModel, KnowledgeStructure, Model
from assay_tom_verifier.core.epistemic.script import Announce, Apply, Claim, Repeat, Script, Step
from assay_tom_verifier.core.epistemic.syntax.tokens import NO_ARROWS

# Formulas share parts, and a text writes each out: sixty doublings would be 2^60 words.
_MAX_WORDS = 1_000_000
_EQUIVALENCE, _IMPLICATION, _DISJUNCTION, _CONJUNCTION, _PREFIXED = range(5)


def print_formula(formula: Formula) -> str:
    """With no more brackets than needed. Raises ResourceExhausted where it is too deep or would be too long."""
    check_depth(formula)
    if _words(formula, {}) > _MAX_WORDS:
        raise ResourceExhausted(
            f"formula: would be over {_MAX_WORDS:,} words as text; print its parts", reason="TEXT_TOO_LONG"
        )
    return _print(formula, _EQUIVALENCE)


def _words(formula: Formula, known: dict[int, int]) -> int:
    if id(formula) not in known:
        known[id(formula)] = 1 + sum(_words(child, known) for child in children(formula))
    return known[id(formula)]


def _print(formula: Formula, around: int) -> str:
    """around: how tightly the place binds; what binds less is bracketed."""
    text, binds = _written(formula)
    return text if binds >= around else f"({text})"


def _written(formula: Formula) -> tuple[str, int]:
    match formula:
        case Constant(value):
            return "true" if value else "false", _PREFIXED
        case Atom(name):
            return name, _PREFIXED
        case Not(inner):
            return f"!{_print(inner, _PREFIXED)}", _PREFIXED
        case And(parts):
            return _joined(" & ", parts, _CONJUNCTION, "true")
        case Or(parts):
            return _joined(" | ", parts, _DISJUNCTION, "false")
        case Implies(premise, conclusion):
            return f"{_print(premise, _DISJUNCTION)} -> {_print(conclusion, _IMPLICATION)}", _IMPLICATION
        case Iff(left, right):
            return f"{_print(left, _IMPLICATION)} <-> {_print(right, _EQUIVALENCE)}", _EQUIVALENCE
        case Knows(agent, inner):
            return f"K[{agent}] {_print(inner, _PREFIXED)}", _PREFIXED
        case Believes(agent, inner):
            return f"B[{agent}] {_print(inner, _PREFIXED)}", _PREFIXED
        case KnowsWhether(agent, inner):
            return f"Kw[{agent}] {_print(inner, _PREFIXED)}", _PREFIXED
        case Common(agents, inner):
            return f"C[{', '.join(agents)}] {_print(inner, _PREFIXED)}", _PREFIXED
        case Distributed(agents, inner):
            return f"D[{', '.join(agents)}] {_print(inner, _PREFIXED)}", _PREFIXED
        case Announced(announcement, inner):
            return f"[!{_print(announcement, _EQUIVALENCE)}] {_print(inner, _PREFIXED)}", _PREFIXED
        case After(events, event, inner):
            return f"[{events.name}, {event}] {_print(inner, _PREFIXED)}", _PREFIXED


def _joined(sign: str, parts: tuple[Formula, ...], binds: int, empty: str) -> tuple[str, int]:
    if len(parts) < 2:
        return (_print(parts[0], _PREFIXED) if parts else empty), _PREFIXED
    return sign.join(_print(part, binds + 1) for part in parts), binds


def print_model(model: Model) -> str:
    """A block `model` or `structure`."""
    if isinstance(model, KnowledgeStructure):
        observes = [_line(f"observes {agent}:", ", ".join(observed)) for agent, observed in model.observes.items()]
        return _block(
            "structure",
            [
                f"agents {', '.join(model.agents)}",
                _line("atoms", ", ".join(model.atoms)),
                f"law {print_formula(model.law)}",
                *observes,
                _line("actual", ", ".join(model.actual)),
            ],
        )
    return _block(
        "model",
        [
            f"frame {model.frame.value}",
            f"agents {', '.join(model.agents)}",
            _line("atoms", ", ".join(model.atoms)),
            *(_line(f"world {world}:", ", ".join(facts)) for world, facts in model.worlds.items()),
            *_relations(model),
            f"point {model.point}",
        ],
    )


def print_events(events: EventModel) -> str:
    """A block `events`."""
    return _block(
        f"events {events.name}",
        [
            f"frame {events.frame.value}",
            *(f"event {name}:{_print_event(event)}" for name, event in events.events.items()),
            *_relations(events),
            f"point {events.point}",
        ],
    )


def print_script(script: Script) -> str:
    """Model, event models, then steps; names that `define` gave are written out."""
    blocks = [print_model(script.model), *(print_events(events) for events in script.events.values())]
    return "\n".join([*blocks, "".join(f"{_print_step(step)}\n" for step in script.steps)])


def _print_step(step: Step) -> str:
    match step:
        case Announce(formula, whether, _):
            return f"announce {'whether ' if whether else ''}{print_formula(formula)}"
        case Apply(events, _):
            return f"update {events.name}"
        case Claim(formula, _, _):
            return f"claim {print_formula(formula)}"
        case Repeat(announcement, until, _):
            return f"repeat announce {print_formula(announcement)} until {print_formula(until)}"


def _print_event(event: Event) -> str:
    pre = "" if event.pre == TRUE else f" pre {print_formula(event.pre)}"
    post = ", ".join(f"{atom} := {print_formula(value)}" for atom, value in event.post.items())
    return f"{pre} post {post}" if post else pre


def _relations(declared: EpistemicModel | EventModel) -> Iterable[str]:
    for agent, relation in declared.relations.items():
        arrows: dict[int, tuple[Collection[str], list[str]]] = {}  # a class that many points share is written once
        for point, seen in relation.items():
            if seen:
                arrows.setdefault(id(seen), (seen, []))[1].append(point)
        written = "; ".join(f"{', '.join(points)} -> {', '.join(seen)}" for seen, points in arrows.values())
        yield f"relation {agent}: {written or NO_ARROWS}"


def _line(head: str, rest: str) -> str:
    return f"{head} {rest}" if rest else head


def _block(head: str, lines: Iterable[str]) -> str:
    return "".join([f"{head}\n", *(f"  {line}\n" for line in lines), "end\n"])
