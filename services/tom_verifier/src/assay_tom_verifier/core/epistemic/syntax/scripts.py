"""Whole texts: a model, what happens to it, what is claimed of it."""

from __future__ import annotations

from collections.abc import Sequence

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.formulas import Formula
from assay_tom_verifier.core.epistemic.models import EventModel, Model
from assay_tom_verifier.core.epistemic.script import Announce, Apply, Claim, Repeat, Script, Step
from assay_tom_verifier.core.epistemic.syntax.declarations import read_events, read_model, read_structure
from assay_tom_verifier.core.epistemic.syntax.expressions import read_formula
from assay_tom_verifier.core.epistemic.syntax.scope import Scope
from assay_tom_verifier.core.epistemic.syntax.tokens import END, NEWLINE, Reader

_WORDS = ("model", "structure", "events", "define", "announce", "update", "claim", "repeat")


def parse_script(
    text: str, *, model: Model | None = None, field: str = "text", cancel: CancelToken | None = None
) -> Script:
    """A script; model: what it speaks of where the text itself declares none.

    Raises InvalidInput with line and column, ResourceExhausted for formulas that are too deep.
    """
    reader = Reader(text, field, cancel)
    scope = Scope() if model is None else Scope.of(model.agents, model.atoms)
    steps: list[Step] = []
    while reader.token.kind != END:
        if cancel is not None:
            cancel.check()
        if not reader.at_word(*_WORDS):
            raise reader.error(f"expected one of {', '.join(_WORDS)}; found {reader.found}")
        head = reader.take()
        if head.text in ("model", "structure"):
            if model is not None:
                raise reader.error("there is a model already; keep one", head)
            model = read_model(reader, head) if head.text == "model" else read_structure(reader, head)
            scope = Scope.of(model.agents, model.atoms)
            continue
        if model is None:
            raise reader.error(f"{head.text} speaks of a model that is not there yet; declare it first", head)
        if head.text == "events":
            events = read_events(reader, head, scope)
            scope.events[events.name] = events
            continue
        if head.text == "define":
            _define(reader, scope)
        else:
            steps.append(_step(reader, scope, head.text, head.line))
        reader.end_line()
    if model is None:
        raise reader.error("there is no model; declare one with 'model' or 'structure'")
    return Script(model, scope.events, tuple(steps))


def _define(reader: Reader, scope: Scope) -> None:
    token = reader.token
    name = reader.name("name")
    if name in scope.defined or name in (scope.atoms or ()) or name in ("true", "false"):
        raise reader.error(f"{name} means something already; choose another name", token)
    reader.expect(":")
    scope.defined[name] = read_formula(reader, scope)


def _step(reader: Reader, scope: Scope, word: str, line: int) -> Step:
    if word == "announce":
        whether = reader.accept_word("whether")
        return Announce(read_formula(reader, scope), whether, line)
    if word == "update":
        return Apply(scope.events[reader.name("event model", scope.events)], line)
    if word == "claim":
        start = reader.token.start
        formula = read_formula(reader, scope)
        return Claim(formula, " ".join(reader.text[start : reader.token.start].split()), line)
    reader.expect_word("announce")
    announcement = read_formula(reader, scope)
    reader.expect_word("until")
    return Repeat(announcement, read_formula(reader, scope), line)


def parse_model(text: str, *, field: str = "text", cancel: CancelToken | None = None) -> Model:
    """A text that is one model or structure and nothing else."""
    script = parse_script(text, field=field, cancel=cancel)
    if script.steps or script.events:
        raise InvalidInput(field, "has more than a model; take out updates and claims, or check it as a script")
    return script.model


def parse_events(text: str, agents: Sequence[str], atoms: Sequence[str], *, field: str = "text") -> EventModel:
    """A text that is one event model for a model of `agents` and `atoms`."""
    reader = Reader(text, field)
    events = read_events(reader, reader.expect_word("events"), Scope.of(tuple(agents), tuple(atoms)))
    if reader.token.kind != END:
        raise reader.error(f"expected the text to end, found {reader.found}")
    return events


def parse_formula(
    text: str, *, agents: Sequence[str] | None = None, atoms: Sequence[str] | None = None, field: str = "formula"
) -> Formula:
    """A text that is one formula; agents, atoms: those it may name, None for any."""
    reader = Reader(text, field)
    scope = Scope(None if agents is None else tuple(agents), None if atoms is None else frozenset(atoms))
    formula = read_formula(reader, scope)
    if reader.token.kind == NEWLINE:
        reader.take()
    if reader.token.kind != END:
        raise reader.error(f"expected the formula to end, found {reader.found}")
    return formula
