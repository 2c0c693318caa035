"""Steps about traces and published answers, checked against the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.engine.step import StepContext
from assay.tom_verifier.v1 import traces_pb2 as api
from assay_tom_verifier.core.audit import audit_rows
from assay_tom_verifier.core.evaluate import LabelledRow, evaluate_rows
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.traces.labels import LabelMode, label_trace
from assay_tom_verifier.translate import PROFILES, belief_to_proto, question_of, trace_of, trace_to_proto

MODES = {
    api.STEP_LABEL_MODE_UNSPECIFIED: LabelMode.PREFIX,
    api.STEP_LABEL_MODE_PREFIX: LabelMode.PREFIX,
    api.STEP_LABEL_MODE_STEP: LabelMode.STEP,
}


def check_trace(request: api.CheckTraceRequest, context: StepContext) -> api.CheckTraceResponse:
    story = parse_story(request.story, cancel=context.cancel).story
    question, trace = question_of(request.question), trace_of(request.trace)
    checked = label_trace(story, question, trace, MODES[request.mode], PROFILES[request.profile], context.cancel)
    steps = [
        api.StepVerdict(right=step.right, claim=step.claim, expected=belief_to_proto(step.expected))
        for step in checked.steps
    ]
    return api.CheckTraceResponse(
        steps=steps,
        answer_right=checked.answer_right,
        expected_answer=belief_to_proto(checked.expected_answer),
        trace=trace_to_proto(trace),
    )


def evaluate(request: api.EvaluateRequest, context: StepContext) -> api.EvaluateResponse:
    found = evaluate_rows(_rows(request.rows), PROFILES[request.profile], context.cancel)
    groups = [
        api.GroupAgreement(group=name, total=group.total, agree=group.agree, unparsed=group.unparsed)
        for name, group in found.by_group.items()
    ]
    rows = [api.RowVerdict(id=row.id, answer=row.answer, agrees=row.agrees, refused=row.refused) for row in found.rows]
    overall = found.overall
    return api.EvaluateResponse(
        total=overall.total, agree=overall.agree, unparsed=overall.unparsed, groups=groups, rows=rows
    )


def audit(request: api.AuditRequest, context: StepContext) -> api.AuditResponse:
    found = audit_rows(_rows(request.rows), PROFILES[request.profile], context.cancel)
    contradicted = [
        api.ContradictedRow(
            id=row.id,
            published_answer=row.published_answer,
            answer=row.answer,
            derivation=map(belief_to_proto, row.derivation),
            remark=row.remark,
        )
        for row in found.contradicted
    ]
    return api.AuditResponse(audited=found.audited, unparsed=found.unparsed, contradicted=contradicted)


def _rows(rows: Sequence[api.LabelledRow]) -> Iterator[LabelledRow]:
    for row in rows:
        yield LabelledRow(row.id, row.story, row.question, row.published_answer, row.group)
