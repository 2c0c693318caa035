"""Formulas, by recursive descent whose depth is counted: no text makes it run out of stack."""

from __future__ import annotations

from collections.abc import Callable

from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.formulas import (
    FALSE,
    MAX_DEPTH,
    TRUE,
    After,
    And,
    Announced,
    Atom,
    Believes,
    Common,
    Distributed,
    Formula,
    Iff,
    Implies,
    Knows,
    KnowsWhether,
    Not,
    Or,
    check_depth,
)
from assay_tom_verifier.core.epistemic.syntax.scope import Scope
from assay_tom_verifier.core.epistemic.syntax.tokens import NAME, Reader

_BOXES: dict[str, Callable[[str, Formula], Formula]] = {"K": Knows, "B": Believes, "Kw": KnowsWhether}
_GROUPS: dict[str, Callable[[tuple[str, ...], Formula], Formula]] = {"C": Common, "D": Distributed}


def read_formula(reader: Reader, scope: Scope) -> Formula:
    """The longest formula from here. Raises InvalidInput with line and column, ResourceExhausted where too deep."""
    line = reader.token.line
    formula = _binary(reader, scope, 0)
    check_depth(formula, f"{reader.field}: line {line}")
    return formula


def _binary(reader: Reader, scope: Scope, depth: int, level: int = 0) -> Formula:
    """Operands joined by the sign of `level`, each of which binds tighter."""
    if level == len(_SIGNS):
        return _prefixed(reader, scope, depth)
    found = [_binary(reader, scope, depth, level + 1)]
    while reader.accept(_SIGNS[level]):
        found.append(_binary(reader, scope, depth, level + 1))
    return found[0] if len(found) == 1 else _JOINS[_SIGNS[level]](found)


def _to_the_right(operands: list[Formula], join: Callable[[Formula, Formula], Formula]) -> Formula:
    """a -> b -> c is a -> (b -> c)."""
    formula = operands.pop()
    while operands:
        formula = join(operands.pop(), formula)
    return formula


# Loosest first.
_SIGNS = ("<->", "->", "|", "&")
_JOINS: dict[str, Callable[[list[Formula]], Formula]] = {
    "<->": lambda operands: _to_the_right(operands, Iff),
    "->": lambda operands: _to_the_right(operands, Implies),
    "|": lambda operands: Or(tuple(operands)),
    "&": lambda operands: And(tuple(operands)),
}


def _prefixed(reader: Reader, scope: Scope, depth: int) -> Formula:
    if (depth := depth + 1) > MAX_DEPTH:
        token = reader.token
        raise ResourceExhausted(
            f"{reader.field}: line {token.line}, column {token.column}: nested more than {MAX_DEPTH} deep; "
            "define its parts by name",
            reason="FORMULA_TOO_DEEP",
        )
    if reader.accept("!"):
        return Not(_prefixed(reader, scope, depth))
    if reader.accept("("):
        formula = _binary(reader, scope, depth)
        reader.expect(")")
        return formula
    if reader.accept("["):
        return _dynamic(reader, scope, depth)
    if reader.token.kind != NAME:
        raise reader.error(f"expected a formula, found {reader.found}")
    if reader.ahead("[") and (reader.token.text in _BOXES or reader.token.text in _GROUPS):
        return _modal(reader, scope, depth)
    return _word(reader, scope)


def _modal(reader: Reader, scope: Scope, depth: int) -> Formula:
    letter = reader.take().text
    reader.expect("[")
    if letter in _BOXES:
        agent = reader.name("agent", scope.agents)
        reader.expect("]")
        return _BOXES[letter](agent, _prefixed(reader, scope, depth))
    agents = tuple(reader.names("agent", scope.agents))
    reader.expect("]")
    return _GROUPS[letter](agents, _prefixed(reader, scope, depth))


def _dynamic(reader: Reader, scope: Scope, depth: int) -> Formula:
    """After `[`: `!f] g`, `events] g` or `events, event] g`."""
    if reader.accept("!"):
        announcement = _binary(reader, scope, depth)
        reader.expect("]")
        return Announced(announcement, _prefixed(reader, scope, depth))
    events = scope.events[reader.name("event model", scope.events)]
    event = reader.name(f"event of {events.name}", events.events) if reader.accept(",") else events.point
    reader.expect("]")
    return After(events, event, _prefixed(reader, scope, depth))


def _word(reader: Reader, scope: Scope) -> Formula:
    word = reader.token.text
    if word in ("true", "false"):
        reader.take()
        return TRUE if word == "true" else FALSE
    if word in scope.defined:
        reader.take()
        return scope.defined[word]
    return Atom(reader.name("atom", scope.atoms))
