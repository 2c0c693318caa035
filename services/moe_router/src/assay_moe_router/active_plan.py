"""Which plan a model runs under: a label that is moved by compare-and-swap and never shows half a change.

moe-router/active/<model>     an artifact "plan-activation": the plan, its balanced model, an epoch, and where to
                              go back to
moe-router/applying/<model>   an artifact "plan-claim": the operation that may change it; free once that one ended
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from assay.artifacts.store import ArtifactStore
from assay.errors import Aborted, DataLoss, FailedPrecondition, NotFound
from assay.operations.records import OperationRecords

ACTIVATION_KIND, CLAIM_KIND = "plan-activation", "plan-claim"
DOCUMENT = "activation.json"


@dataclass(frozen=True)
class Activation:
    """plan, balanced_model: digests, empty where the model runs as it is. previous: digest of the activation that a
    revert goes back to, empty for none. operation: that made it, or
    which epoch was reverted.
    """

    epoch: int = 0
    plan: str = ""
    balanced_model: str = ""
    previous: str = ""
    operation: str = ""


@dataclass(frozen=True)
class Standing:
    """The activation in force, its own digest, and the label's version; both empty where there never was one."""

    activation: Activation
    digest: str = ""
    version: str = ""


def standing(artifacts: ArtifactStore, model: str) -> Standing:
    """model: digest of the checkpoint."""
    label = artifacts.label(_label("active", model))
    if label is None:
        return Standing(Activation())
    return Standing(_read(artifacts, label.digest), label.digest, label.version)


def activate(
    artifacts: ArtifactStore, model: str, *, plan: str, balanced_model: str, epoch: int, operation: str
) -> Activation:
    """Makes a plan the active one if the epoch still is `epoch`; Aborted otherwise.

    Called again by the same operation it changes nothing and gives the same answer.
    """
    now = standing(artifacts, model)
    if now.activation.operation == operation and now.activation.plan == plan:
        return now.activation
    _check_epoch(now, epoch)
    return _move(artifacts, model, now, Activation(epoch + 1, plan, balanced_model, now.digest, operation))


def revert(artifacts: ArtifactStore, model: str, expected_epoch: int) -> Activation:
    """Goes back to the plan before the active one, or to none. FailedPrecondition where nothing is active.

    With an expected epoch a call that is repeated, because its answer was lost, changes nothing more.
    """
    now = standing(artifacts, model)
    if expected_epoch:
        if now.activation.operation == f"revert of epoch {expected_epoch}":
            return now.activation
        _check_epoch(now, expected_epoch)
    if not now.activation.plan:
        raise FailedPrecondition("no plan is active for this model; there is nothing to revert", reason="NOT_ACTIVE")
    before = _read(artifacts, now.activation.previous) if now.activation.previous else Activation()
    return _move(
        artifacts,
        model,
        now,
        Activation(
            now.activation.epoch + 1,
            before.plan,
            before.balanced_model,
            before.previous,
            operation=f"revert of epoch {now.activation.epoch}",
        ),
    )


def claim(artifacts: ArtifactStore, model: str, operation: str) -> None:
    """Gives `operation` the right to apply; Aborted while another one that has not ended holds it."""
    name = _label("applying", model)
    mine = artifacts.put(CLAIM_KIND, {DOCUMENT: json.dumps({"operation": operation}).encode()})
    held = artifacts.label(name)
    if held is not None:
        if held.digest == mine:
            return
        holder = str(json.loads(artifacts.read(held.digest, DOCUMENT))["operation"])
        if not _ended(OperationRecords(artifacts.objects), holder):
            raise Aborted(
                "another plan is being applied to this model; wait for it to end, then apply again",
                reason="APPLY_RUNNING",
                metadata={"operation": f"operations/{holder}"},
            )
    artifacts.set_label(name, mine, held.version if held else None)


def _ended(records: OperationRecords, operation: str) -> bool:
    try:
        records.specification(operation)
    except NotFound:
        return True
    return records.result(operation) is not None


def _check_epoch(now: Standing, expected: int) -> None:
    if now.activation.epoch != expected:
        raise Aborted(
            f"expected_epoch: is {expected}, the active plan's epoch is {now.activation.epoch}; read it again and "
            "decide anew",
            reason="STALE_EPOCH",
        )


def _move(artifacts: ArtifactStore, model: str, now: Standing, to: Activation) -> Activation:
    inputs = sorted(filter(None, {model, to.plan, to.balanced_model, to.previous}))
    digest = artifacts.put(ACTIVATION_KIND, {DOCUMENT: json.dumps(asdict(to), sort_keys=True).encode()}, inputs=inputs)
    artifacts.set_label(_label("active", model), digest, now.version or None)
    return to


def _read(artifacts: ArtifactStore, digest: str) -> Activation:
    try:
        return Activation(**json.loads(artifacts.read(digest, DOCUMENT)))
    except (ValueError, TypeError) as error:
        raise DataLoss("the record of the active plan cannot be read; apply a plan anew") from error


def _label(name: str, model: str) -> str:
    return f"moe-router/{name}/{model.removeprefix('sha256:')}"
