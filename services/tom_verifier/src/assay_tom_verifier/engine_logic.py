"""Steps of dynamic epistemic logic: models stored, updated, contracted and checked."""

from __future__ import annotations

from dataclasses import dataclass

from assay.engine.step import StepContext
from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay.tom_verifier.v1 import epistemic_pb2 as api
from assay_tom_verifier import kinds
from assay_tom_verifier.core.epistemic.engine import Engine, Reduction, State
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.formulas import uses_distributed
from assay_tom_verifier.core.epistemic.models import Model
from assay_tom_verifier.core.epistemic.puzzles import puzzle_text
from assay_tom_verifier.core.epistemic.script import Claim, Script, run_script, run_steps
from assay_tom_verifier.core.epistemic.structure import Limits
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.epistemic.syntax import parse_model, parse_script, print_model

DOCUMENT = "model.txt"
SHOWN_CHARACTERS = 500_000  # of a model's text in a message; whole it is in the store
MAX_TEXT = 2_000_000
MERGED = "merged"  # parameter of a stored model: some contraction on its way made one world of several


@dataclass(frozen=True)
class Given:
    """A model that a request names. digest: what it was stored under, empty of a text. merged: as `State.merged`."""

    model: Model
    digest: str = ""
    merged: bool = False


def create_model(request: api.CreateModelRequest, context: StepContext) -> api.CreateModelResponse:
    _check_length(request.text, "text")
    model = parse_model(request.text, cancel=context.cancel)
    state = ExplicitEngine(cancel=context.cancel, reduction=Reduction.NONE).load(model)
    return api.CreateModelResponse(model=_put(context, model, state))


def update_model(request: api.UpdateModelRequest, context: StepContext) -> api.UpdateModelResponse:
    _check_length(request.events, "events")
    given = _given(request.model, context)
    script = parse_script(request.events, model=given.model, field="events", cancel=context.cancel)
    _check_distributed(script, given)
    if not script.steps or any(isinstance(step, Claim) for step in script.steps):
        raise InvalidInput("events", "must update and claim nothing; write announce or update, and check claims apart")
    # Not contracted: whoever asks the stored model for distributed knowledge is to be told what holds.
    engine = ExplicitEngine(cancel=context.cancel, reduction=Reduction.PRUNE)
    state = run_steps(script.steps, engine, engine.load(given.model)).state
    report = state.report
    facts = _put(context, engine.export(state), state, given.digest, merged=given.merged)
    if report is None:
        return api.UpdateModelResponse(model=facts)
    return api.UpdateModelResponse(
        model=facts,
        product_worlds=report.product_worlds,
        reachable_worlds=report.reachable_worlds,
        not_serial=report.not_serial,
    )


def contract(request: api.ContractRequest, context: StepContext) -> api.ContractResponse:
    given = _given(request.model, context)
    engine = ExplicitEngine(cancel=context.cancel, reduction=Reduction.NONE)
    before = engine.load(given.model)
    after = engine.contract(before)
    facts = _put(context, engine.export(after), after, given.digest, merged=given.merged or after.merged)
    return api.ContractResponse(model=facts, worlds_before=before.worlds)


def model_check(request: api.ModelCheckRequest, context: StepContext) -> api.ModelCheckResponse:
    text = request.text
    if request.WhichOneof("subject") == "example":
        text = puzzle_text(request.example.name, request.example.n)
    _check_length(text, "text")
    given = _stored(request.model, context) if request.model else None
    script = parse_script(text, model=None if given is None else given.model, cancel=context.cancel)
    if given is not None:
        _check_distributed(script, given)
    run = run_script(script, _engine(request, context))
    return api.ModelCheckResponse(
        verdicts=[api.Verdict(formula=one.formula, holds=one.holds, line=one.line) for one in run.verdicts],
        rounds=run.rounds,
        seconds=run.seconds,
        worlds=run.worlds,
        nodes=run.nodes or 0,
        text=text if request.WhichOneof("subject") == "example" else "",
    )


def _engine(request: api.ModelCheckRequest, context: StepContext) -> Engine:
    if request.backend == api.EPISTEMIC_BACKEND_BDD:
        return SymbolicEngine(cancel=context.cancel)
    cap = Limits().worlds
    return ExplicitEngine(limits=Limits(worlds=min(request.max_worlds or cap, cap)), cancel=context.cancel)


def _given(source: api.ModelSource, context: StepContext) -> Given:
    if source.WhichOneof("source") == "text":
        _check_length(source.text, "model.text")
        return Given(parse_model(source.text, field="model.text", cancel=context.cancel))
    return _stored(source.model, context)


def _stored(reference: str, context: StepContext) -> Given:
    found = context.artifacts.get(reference)
    try:
        model = parse_model(context.artifacts.read(found.digest, DOCUMENT).decode(), cancel=context.cancel)
    except (UnicodeDecodeError, InvalidInput) as error:
        raise DataLoss("model: what is stored is no epistemic model; create it again") from error
    return Given(model, found.digest, bool(found.manifest.parameters.get(MERGED)))


def _check_distributed(script: Script, given: Given) -> None:
    if given.merged and any(map(uses_distributed, script.formulas())):
        raise FailedPrecondition(
            "model: has bisimilar worlds merged by a contraction, which does not keep distributed knowledge; ask for "
            "D[...] of the model that was contracted",
            reason="MODEL_CONTRACTED",
        )


def _put(context: StepContext, model: Model, state: State, origin: str = "", *, merged: bool = False) -> api.ModelFacts:
    text = print_model(model)
    digest = context.artifacts.put(
        kinds.EPISTEMIC,
        {DOCUMENT: text.encode()},
        inputs=[origin] if origin else [],
        parameters={MERGED: True} if merged else {},
    )
    return api.ModelFacts(
        model=digest,
        worlds=state.worlds,
        agents=state.agents,
        atoms=state.atoms,
        text=text if len(text) <= SHOWN_CHARACTERS else "",
    )


def _check_length(text: str, field: str) -> None:
    if len(text) > MAX_TEXT:
        raise InvalidInput(field, f"is {len(text):,} characters; give at most {MAX_TEXT:,}")
