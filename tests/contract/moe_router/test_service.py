"""moe-router over a real socket, on a model that was trained: from routing statistics to a balanced model."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from safetensors import safe_open

from assay.checkup.section import DOCUMENT, Section
from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.client.connection import Connection, connect
from assay.config import Config
from assay.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unimplemented,
)
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import moe_router_pb2_grpc
from assay.operations.records import OperationRecords
from assay.zoo.recipes import RECIPES
from assay.zoo.train import new_model
from assay_moe_router import engine

SEQUENCES = 48


def stub(connection: Connection) -> Any:
    return moe_router_pb2_grpc.MoeRouterServiceStub(connection.channel)


def new_id() -> str:
    return str(uuid.uuid4())


def text_of(trained: Any, **fields: Any) -> api.TextSelection:
    return api.TextSelection(text=trained.text, **{"sequences": SEQUENCES, "sequence_tokens": 64, **fields})


def calibrate(connection: Connection, trained: Any, **fields: Any) -> api.CalibrateResult:
    request = api.CalibrateRequest(request_id=new_id(), model=trained.model, text=text_of(trained, **fields))
    return connection.run(stub(connection).Calibrate, request, api.CalibrateResult)


@pytest.fixture(scope="module")
def statistics(connection: Connection, trained: Any) -> api.CalibrateResult:
    return calibrate(connection, trained)


@pytest.fixture(scope="module")
def importance(connection: Connection, trained: Any) -> api.ScoreImportanceResult:
    request = api.ScoreImportanceRequest(request_id=new_id(), model=trained.model, text=text_of(trained))
    return connection.run(stub(connection).ScoreImportance, request, api.ScoreImportanceResult)


@pytest.fixture(scope="module")
def plan(
    connection: Connection, statistics: api.CalibrateResult, importance: api.ScoreImportanceResult
) -> api.PlanReplicateQuantizeResponse:
    return planned(connection, statistics, importance)


def planned(connection: Connection, statistics: Any, importance: Any, **fields: Any) -> Any:
    request = api.PlanReplicateQuantizeRequest(
        statistics=statistics.statistics, importance=importance.importance, **fields
    )
    return connection.call(stub(connection).PlanReplicateQuantize, request)


def applied(connection: Connection, plan: str, **fields: Any) -> api.ApplyPlanResult:
    request = api.ApplyPlanRequest(request_id=new_id(), plan=plan, **fields)
    return connection.run(stub(connection).ApplyPlan, request, api.ApplyPlanResult)


def active(connection: Connection, trained: Any) -> api.ActivePlan:
    return connection.call(stub(connection).GetActivePlan, api.GetActivePlanRequest(model=trained.model)).active


def test_the_layout_is_described(connection: Connection, trained: Any) -> None:
    answer = connection.call(stub(connection).DescribeModel, api.DescribeModelRequest(model=trained.model))
    assert answer.fingerprint == trained.model
    assert [(layer.experts, layer.top_k, layer.dtype) for layer in answer.layers] == [(8, 2, "bfloat16")] * 2
    # 2 * 32 x 32 and 32 x 32 values of two bytes.
    assert {layer.bytes_per_expert for layer in answer.layers} == {2 * 3 * 32 * 32}


def test_every_token_is_counted_k_times(statistics: api.CalibrateResult) -> None:
    for layer in statistics.layers:
        # The last token of a sequence predicts nothing and is not sent through the model.
        assert sum(layer.expert_tokens) == layer.routed_tokens == SEQUENCES * 63 * 2
        assert layer.load_imbalance == pytest.approx(8 * max(layer.expert_tokens) / layer.routed_tokens)
        assert layer.masked_tokens == layer.dropped_tokens == 0


def test_shards_change_nothing_and_the_same_question_has_the_same_answer(
    connection: Connection, trained: Any, statistics: api.CalibrateResult
) -> None:
    # 48 sequences in batches of 64 are one shard, in batches of 8 they are one of 64 too; 80 are two.
    again = calibrate(connection, trained)
    assert again.statistics == statistics.statistics
    longer = calibrate(connection, trained, sequences=80)
    head = calibrate(connection, trained, sequences=80, batch_sequences=16)
    assert [layer.expert_tokens for layer in longer.layers] == [layer.expert_tokens for layer in head.layers]


def test_importance_orders_experts_and_the_unused_score_nothing(
    statistics: api.CalibrateResult, importance: api.ScoreImportanceResult
) -> None:
    for layer, scored in zip(statistics.layers, importance.layers, strict=True):
        assert len(scored.expert_importance) == 8
        for tokens, score in zip(layer.expert_tokens, scored.expert_importance, strict=True):
            assert tokens or score == 0.0
        busiest = max(range(8), key=lambda expert: layer.expert_tokens[expert])
        assert scored.expert_importance[busiest] > 0


@pytest.mark.parametrize(
    "metric",
    [
        api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY,
        api.IMPORTANCE_METRIC_ACTIVATION_NORM,
        api.IMPORTANCE_METRIC_WANDA_ROW,
        api.IMPORTANCE_METRIC_FREQUENCY,
    ],
)
def test_every_metric_scores_every_expert(connection: Connection, trained: Any, metric: Any) -> None:
    request = api.ScoreImportanceRequest(
        request_id=new_id(), model=trained.model, text=text_of(trained, sequences=16), metric=metric
    )
    result = connection.run(stub(connection).ScoreImportance, request, api.ScoreImportanceResult)
    assert [len(layer.expert_importance) for layer in result.layers] == [8, 8]
    assert any(any(layer.expert_importance) for layer in result.layers)


def test_a_plan_pays_for_its_replicas(
    connection: Connection, statistics: Any, importance: Any, plan: api.PlanReplicateQuantizeResponse
) -> None:
    assert 0 < plan.bytes_after <= plan.bytes_before == 2 * 8 * 6144
    assert any(len(layer.slot_experts) > 8 for layer in plan.layers)
    for layer in plan.layers:
        replicated = set(layer.slot_experts[8:])
        assert all(layer.slot_bits[expert] == 0 for expert in replicated)
        assert layer.lis_logical <= layer.load_imbalance_before
    # The same question is the same artifact.
    assert planned(connection, statistics, importance).plan == plan.plan


def test_apply_evaluate_revert(connection: Connection, trained: Any, plan: Any, tmp_path: Path) -> None:
    before = active(connection, trained)
    result = applied(connection, plan.plan)
    assert result.epoch == before.epoch + 1
    assert active(connection, trained).balanced_model == result.balanced_model
    # bytes_after is what the exported file really holds.
    folder = connection.artifacts.download(result.balanced_model, tmp_path / "balanced")
    with safe_open(folder / "experts.safetensors", framework="pt") as stored:
        tensors = [stored.get_tensor(name) for name in stored.keys()]  # noqa: SIM118
    assert sum(t.numel() * t.element_size() for t in tensors) == result.bytes_after == plan.bytes_after

    # The same plan again changes nothing.
    assert applied(connection, plan.plan).epoch == result.epoch

    request = api.EvaluateRequest(
        request_id=new_id(), balanced_model=result.balanced_model, text=text_of(trained, split="test", sequences=64)
    )
    found = connection.run(stub(connection).Evaluate, request, api.EvaluateResult)
    assert found.sequences == 64
    for comparison in (found.loss_nats, found.accuracy):
        assert comparison.after - comparison.before == pytest.approx(comparison.change, abs=1e-12)
        assert comparison.change_low <= comparison.change <= comparison.change_high
    # int8 on the least important experts of a trained model: nothing to be seen at two decimals.
    assert abs(found.loss_nats.change) < 0.005
    assert all(layer.ratio == pytest.approx(layer.load_imbalance_before / layer.lis_logical) for layer in found.layers)

    reverted = connection.call(stub(connection).RevertPlan, api.RevertPlanRequest(model=trained.model)).active
    assert (reverted.plan, reverted.epoch) == (before.plan, result.epoch + 1)


def test_exact_replicas_change_no_logit(connection: Connection, statistics: Any, importance: Any) -> None:
    exact = planned(connection, statistics, importance, exact=True)
    assert exact.bytes_after > exact.bytes_before
    result = applied(connection, exact.plan)
    assert result.probe_max_abs_difference == 0.0


def test_a_stale_epoch_is_aborted(connection: Connection, trained: Any, statistics: Any, importance: Any) -> None:
    other = planned(connection, statistics, importance, policy=api.PLAN_POLICY_PAPER)
    epoch = applied(connection, other.plan).epoch
    fresh = planned(connection, statistics, importance, target_load_imbalance=1.5)
    with pytest.raises(Aborted, match="epoch"):
        applied(connection, fresh.plan, expected_epoch=epoch + 7)
    with pytest.raises(Aborted, match="epoch"):
        connection.call(
            stub(connection).RevertPlan, api.RevertPlanRequest(model=trained.model, expected_epoch=epoch + 7)
        )
    assert active(connection, trained).plan == other.plan


def test_a_plan_that_cannot_be_paid_for_says_how_many_bytes_are_short(
    connection: Connection, statistics: Any, importance: Any
) -> None:
    with pytest.raises(FailedPrecondition, match="budget_bytes") as caught:
        planned(connection, statistics, importance, budget_bytes=1000)
    assert int(caught.value.metadata["bytes_short"]) > 0


def test_statistics_and_importance_of_two_models_do_not_mix(
    connection: Connection, trained: Any, statistics: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained.artifacts.path(trained.model), other, copy_function=shutil.copyfile)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "comment": "another checkpoint"}))
    model = connection.artifacts.put("model", other)
    request = api.ScoreImportanceRequest(
        request_id=new_id(),
        model=model,
        text=text_of(trained, sequences=8),
        metric=api.IMPORTANCE_METRIC_FREQUENCY,
    )
    scored = connection.run(stub(connection).ScoreImportance, request, api.ScoreImportanceResult)
    with pytest.raises(FailedPrecondition, match="different checkpoints"):
        planned(connection, statistics, scored)


def test_a_dense_model_is_unimplemented_by_name(connection: Connection, tmp_path: Path) -> None:
    new_model(RECIPES["llama-tiny"], 0).save_pretrained(tmp_path / "llama")
    model = connection.artifacts.put("model", tmp_path / "llama")
    with pytest.raises(Unimplemented, match="LlamaForCausalLM"):
        connection.call(stub(connection).DescribeModel, api.DescribeModelRequest(model=model))


def test_unsafe_and_broken_checkpoints_are_refused(connection: Connection, trained: Any, tmp_path: Path) -> None:
    source = trained.artifacts.path(trained.model)
    config, weights = (source / "config.json").read_bytes(), (source / "model.safetensors").read_bytes()

    def describe(files: dict[str, bytes]) -> None:
        model = connection.artifacts.put("model", files)
        connection.call(stub(connection).DescribeModel, api.DescribeModelRequest(model=model))

    with pytest.raises(PermissionDenied, match="pickle"):
        describe({"config.json": config, "pytorch_model.bin": b"\x80\x04cos\nsystem\n."})
    code = json.dumps({**json.loads(config), "auto_map": {"AutoModel": "evil.Model"}}).encode()
    with pytest.raises(PermissionDenied, match="auto_map"):
        describe({"config.json": code, "model.safetensors": weights})
    with pytest.raises(DataLoss, match=r"model\.safetensors"):
        describe({"config.json": config, "model.safetensors": weights[: len(weights) // 2]})


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"sequences": -1}, InvalidInput, "text.sequences"),
        ({"sequence_tokens": 1}, InvalidInput, "text.sequence_tokens"),
        ({"split": "nowhere"}, InvalidInput, "nowhere"),
        ({"sequences": 1_000_000, "sequence_tokens": 1024}, ResourceExhausted, "text.sequences"),
        ({"sequences": 100_000}, InvalidInput, "ask for at most"),
    ],
)
def test_bad_text_selections_are_named(
    connection: Connection, trained: Any, fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        calibrate(connection, trained, **fields)


def test_references_are_checked_before_anything_starts(connection: Connection, trained: Any, plan: Any) -> None:
    call, unknown = connection.call, "sha256:" + "0" * 64
    with pytest.raises(NotFound):
        call(stub(connection).Calibrate, api.CalibrateRequest(model=unknown, text=text_of(trained)))
    with pytest.raises(InvalidInput, match="kind text; give one of kind model"):
        call(stub(connection).Calibrate, api.CalibrateRequest(model=trained.text, text=text_of(trained)))
    with pytest.raises(InvalidInput, match=r"text\.text"):
        call(stub(connection).Calibrate, api.CalibrateRequest(model=trained.model))
    with pytest.raises(InvalidInput, match="request_id"):
        call(stub(connection).ApplyPlan, api.ApplyPlanRequest(request_id="7", plan=plan.plan))
    with pytest.raises(NotFound):
        call(
            stub(connection).PlanReplicateQuantize,
            api.PlanReplicateQuantizeRequest(statistics=unknown, importance=unknown),
        )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bits": [3]}, "bits"),
        ({"budget_bytes": -1}, "budget_bytes"),
        ({"target_load_imbalance": -2.0}, "target_load_imbalance"),
        ({"target_load_imbalance": float("nan")}, "target_load_imbalance"),
        ({"policy": 77}, "policy"),
        ({"policy": api.PLAN_POLICY_BYTES, "exact": True}, "budget_bytes"),
    ],
)
def test_impossible_plans_are_named(
    connection: Connection, statistics: Any, importance: Any, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        planned(connection, statistics, importance, **fields)
    assert caught.value.violations[0].field == named


def test_one_request_id_is_one_operation(connection: Connection, trained: Any) -> None:
    request = api.CalibrateRequest(request_id=new_id(), model=trained.model, text=text_of(trained))
    first = connection.call(stub(connection).Calibrate, request).operation.name
    assert connection.call(stub(connection).Calibrate, request).operation.name == first
    request.text.sequences += 1
    with pytest.raises(AlreadyExists):
        connection.call(stub(connection).Calibrate, request)
    connection.wait(operations_pb2.Operation(name=first))


def test_a_damaged_checkpoint_is_data_loss_and_the_active_plan_stays(
    connection: Connection, trained: Any, statistics: Any, importance: Any, tmp_path: Path
) -> None:
    live = planned(connection, statistics, importance, target_load_imbalance=1.3)
    result = applied(connection, live.plan)
    fresh = planned(connection, statistics, importance, target_load_imbalance=1.4)
    # A copy of the store, without what was cached from it, in which a bit of the weights has turned.
    shutil.copytree(Path(trained.store.removeprefix("file://")) / "objects", tmp_path / "objects")
    weights = trained.artifacts.manifest(trained.model).file("model.safetensors")
    blob = tmp_path / "objects" / "blobs" / weights.sha256
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with connect("moe_router", config=Config(store=tmp_path.as_uri())) as other:
        with pytest.raises(DataLoss, match="does not match its hash"):
            applied(other, fresh.plan)
        assert active(other, trained).balanced_model == result.balanced_model
        request = api.EvaluateRequest(
            request_id=new_id(),
            balanced_model=result.balanced_model,
            # Windows that no other test asked for: the engine in this process has no copy of what it read before.
            text=text_of(trained, split="test", sequences=8, sequence_tokens=40),
        )
        with pytest.raises(DataLoss):
            other.run(stub(other).Evaluate, request, api.EvaluateResult)


def test_a_second_apply_is_aborted_while_one_runs(
    connection: Connection, trained: Any, statistics: Any, importance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned(connection, statistics, importance, target_load_imbalance=1.25)
    second = planned(connection, statistics, importance, target_load_imbalance=1.35)
    building, go_on = threading.Event(), threading.Event()
    write = engine.write_balanced

    def held(*arguments: Any, **named: Any) -> None:
        building.set()
        assert go_on.wait(60)
        write(*arguments, **named)

    monkeypatch.setattr(engine, "write_balanced", held)
    start = api.ApplyPlanRequest(request_id=new_id(), plan=first.plan)
    operation = connection.call(stub(connection).ApplyPlan, start).operation
    assert building.wait(60)
    with pytest.raises(Aborted, match="another plan is being applied"):
        applied(connection, second.plan)
    go_on.set()
    assert connection.wait(operation).WhichOneof("result") == "response"
    assert active(connection, trained).plan == first.plan


def test_a_cancelled_apply_leaves_the_old_plan(
    connection: Connection, trained: Any, statistics: Any, importance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = active(connection, trained)
    fresh = planned(connection, statistics, importance, target_load_imbalance=1.45)
    building = threading.Event()

    def held(*arguments: Any, cancel: Any, **named: Any) -> None:
        building.set()
        while True:
            cancel.wait(0.1)
            cancel.check()

    monkeypatch.setattr(engine, "write_balanced", held)
    start = api.ApplyPlanRequest(request_id=new_id(), plan=fresh.plan)
    operation = connection.call(stub(connection).ApplyPlan, start).operation
    assert building.wait(60)
    connection.cancel(operation)
    assert connection.wait(operation).error.code == 1
    assert active(connection, trained) == before


def test_a_cancel_that_comes_after_the_plan_is_active_comes_too_late(
    connection: Connection, trained: Any, statistics: Any, importance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = planned(connection, statistics, importance, target_load_imbalance=1.55)
    moved = threading.Event()
    commit = OperationRecords.commit_step

    def slow(self: OperationRecords, operation: str, name: str, record: Any) -> Any:
        if name == "activate":
            moved.set()
            time.sleep(2.0)  # a slow store: long enough for the cancel to be seen
        return commit(self, operation, name, record)

    monkeypatch.setattr(OperationRecords, "commit_step", slow)
    start = api.ApplyPlanRequest(request_id=new_id(), plan=fresh.plan)
    operation = connection.call(stub(connection).ApplyPlan, start).operation
    assert moved.wait(60)
    connection.cancel(operation)
    # Without a point of no return it would end CANCELLED with its plan active.
    assert connection.wait(operation).WhichOneof("result") == "response"
    assert active(connection, trained).plan == fresh.plan


def test_a_revert_asked_for_twice_reverts_once(
    connection: Connection, trained: Any, statistics: Any, importance: Any
) -> None:
    older = planned(connection, statistics, importance, target_load_imbalance=1.6)
    newer = planned(connection, statistics, importance, target_load_imbalance=1.7)
    applied(connection, older.plan)
    epoch = applied(connection, newer.plan).epoch
    request = api.RevertPlanRequest(model=trained.model, expected_epoch=epoch)
    once = connection.call(stub(connection).RevertPlan, request).active
    again = connection.call(stub(connection).RevertPlan, request).active
    assert once == again
    assert (once.plan, once.epoch) == (older.plan, epoch + 1)


def test_the_section_of_a_report_card(connection: Connection, trained: Any) -> None:
    request = checkup_pb2.ExamineRequest(
        request_id=new_id(), service="moe_router", model=trained.model, text=trained.text
    )
    checkup = checkup_pb2_grpc.CheckupServiceStub(connection.channel)
    result = connection.run(checkup.Examine, request, checkup_pb2.ExamineResult)
    section = Section.from_document(connection.artifacts.read(result.section, DOCUMENT))
    assert section.service == "moe_router"
    assert {figure.unit for figure in section.figures} >= {"nats per token", "points"}
    for plot in section.plots:
        svg = connection.artifacts.read(result.section, plot.file)
        assert b"<svg" in svg
        assert b"currentColor" in svg
    lineage = {artifact.digest for artifact in connection.artifacts.lineage(result.section)}
    assert set((section.lineage or {}).values()) | {trained.text} <= lineage


def test_operations_of_this_service_are_listed_with_their_method(connection: Connection, statistics: Any) -> None:
    listing = operations_pb2_grpc.OperationsStub(connection.channel)
    found = connection.call(listing.ListOperations, operations_pb2.ListOperationsRequest(filter="done", page_size=200))
    assert any(b"MoeRouterService/Calibrate" in operation.metadata.value for operation in found.operations)
