"""This service's artifacts: what kinds there are, and reading them back as what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from assay.artifacts.manifest import Artifact
from assay.artifacts.store import ArtifactStore
from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay.moe_router.v1 import moe_router_pb2 as api
from assay_moe_router import kinds
from assay_moe_router.core.evaluate import DOCUMENT as EVALUATION
from assay_moe_router.core.evaluate import Evaluation, Measured
from assay_moe_router.core.export import LAYOUT
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.layers import ModelLayout
from assay_moe_router.core.plan import DOCUMENT as PLAN
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.statistics import RoutingStatistics

MEASURED = "measured.json"
PACKAGES = ("assay-moe-router", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class StoredStatistics:
    """Routing statistics with what they were taken on."""

    digest: str
    model: str
    text: api.TextSelection
    statistics: RoutingStatistics
    layout: ModelLayout


@dataclass(frozen=True)
class StoredPlan:
    """A plan with what it stands on."""

    digest: str
    plan: BalancePlan
    statistics: str
    importance: str


def versions() -> dict[str, str]:
    """Of the software whose results are stored."""
    return {name: metadata.version(name) for name in PACKAGES}


def expect(artifacts: ArtifactStore, reference: str, kind: str, field: str) -> Artifact:
    """The artifact `reference` names. NotFound; InvalidInput where it is of another kind."""
    found = artifacts.get(reference)
    if found.manifest.kind != kind:
        raise InvalidInput(field, f"is an artifact of kind {found.manifest.kind}; give one of kind {kind}")
    return found


def put_statistics(
    artifacts: ArtifactStore, model: str, text: api.TextSelection, statistics: RoutingStatistics, layout: ModelLayout
) -> str:
    files = {**statistics.to_files(), LAYOUT: json.dumps(layout.to_json(), indent=1, sort_keys=True).encode()}
    return artifacts.put(
        kinds.STATISTICS, files, inputs=[model, text.text], parameters=_parameters(model, text), versions=versions()
    )


def read_statistics(artifacts: ArtifactStore, reference: str) -> StoredStatistics:
    found = expect(artifacts, reference, kinds.STATISTICS, "statistics")
    try:
        layout = ModelLayout.from_json(json.loads(artifacts.read(found.digest, LAYOUT)))
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss("routing statistics cannot be read; calibrate again") from error
    statistics = RoutingStatistics.from_files(_files(artifacts, found))
    return StoredStatistics(found.digest, str(found.manifest.parameters["model"]), _text(found), statistics, layout)


def put_importance(artifacts: ArtifactStore, model: str, text: api.TextSelection, importance: Importance) -> str:
    parameters = {**_parameters(model, text), "metric": importance.metric.value}
    return artifacts.put(
        kinds.IMPORTANCE,
        importance.to_files(),
        inputs=[model, text.text],
        parameters=parameters,
        versions=versions(),
    )


def read_importance(artifacts: ArtifactStore, reference: str) -> tuple[str, str, Importance]:
    """Digest, model, scores."""
    found = expect(artifacts, reference, kinds.IMPORTANCE, "importance")
    return found.digest, str(found.manifest.parameters["model"]), Importance.from_files(_files(artifacts, found))


def put_plan(artifacts: ArtifactStore, plan: BalancePlan, statistics: str, importance: str) -> str:
    return artifacts.put(
        kinds.PLAN,
        {PLAN: plan.to_json()},
        inputs=[plan.model, statistics, importance],
        parameters={
            "model": plan.model,
            "statistics": statistics,
            "importance": importance,
            "policy": plan.policy,
            "bits": list(plan.bits),
            "exact": plan.exact,
        },
        versions=versions(),
    )


def read_plan(artifacts: ArtifactStore, reference: str) -> StoredPlan:
    found = expect(artifacts, reference, kinds.PLAN, "plan")
    plan = BalancePlan.from_json(artifacts.read(found.digest, PLAN))
    parameters = found.manifest.parameters
    return StoredPlan(found.digest, plan, str(parameters["statistics"]), str(parameters["importance"]))


def plan_of_balanced(artifacts: ArtifactStore, reference: str, field: str = "balanced_model") -> StoredPlan:
    """The plan that a balanced model was built by."""
    found = expect(artifacts, reference, kinds.BALANCED, field)
    return read_plan(artifacts, str(found.manifest.parameters["plan"]))


def put_evaluation(
    artifacts: ArtifactStore,
    balanced_model: str,
    text: api.TextSelection,
    evaluation: Evaluation,
    measured: Measured,
    *,
    resamples: int,
    seed: int,
) -> str:
    return artifacts.put(
        kinds.EVALUATION,
        {EVALUATION: evaluation.to_json(), MEASURED: measured.to_json()},
        inputs=[balanced_model, text.text],
        # A seed of 64 bits does not fit a double.
        parameters={**_parameters(balanced_model, text), "bootstrap_resamples": resamples, "seed": str(seed)},
        versions=versions(),
    )


def read_evaluation(artifacts: ArtifactStore, reference: str) -> Evaluation:
    found = expect(artifacts, reference, kinds.EVALUATION, "evaluation")
    return Evaluation.from_json(artifacts.read(found.digest, EVALUATION))


def read_part(artifacts: ArtifactStore, reference: str) -> dict[str, bytes]:
    """Files of one shard's result."""
    return _files(artifacts, expect(artifacts, reference, kinds.PART, "parts"))


def check_same_model(one: str, other: str) -> None:
    """Raises FailedPrecondition where statistics and importance are of two checkpoints."""
    if one != other:
        raise FailedPrecondition(
            "statistics and importance are of different checkpoints; calibrate and score the same model",
            reason="MODEL_MISMATCH",
            metadata={"statistics_model": one, "importance_model": other},
        )


def _files(artifacts: ArtifactStore, found: Artifact) -> dict[str, bytes]:
    return {file.path: artifacts.read(found.digest, file.path) for file in found.manifest.files}


def _parameters(model: str, text: api.TextSelection) -> dict[str, Any]:
    return {
        "model": model,
        "split": text.split,
        "sequences": text.sequences,
        "sequence_tokens": text.sequence_tokens,
        "batch_sequences": text.batch_sequences,
    }


def _text(found: Artifact) -> api.TextSelection:
    parameters: dict[str, Any] = dict(found.manifest.parameters)
    inputs: Sequence[str] = [digest for digest in found.manifest.inputs if digest != parameters["model"]]
    return api.TextSelection(
        text=inputs[0],
        split=parameters["split"],
        sequences=parameters["sequences"],
        sequence_tokens=parameters["sequence_tokens"],
        batch_sequences=parameters["batch_sequences"],
    )
