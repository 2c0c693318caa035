"""The long methods end to end on a small trained model: what they find is stored, and is what they say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from contract.inference_optimizer.asking import CHOOSING, SPARSE, generate, request
from contract.inference_optimizer.conftest import new_id
from prometheus_client import REGISTRY
from safetensors.numpy import load
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from assay.checkup.section import DOCUMENT, Section
from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.client.connection import Connection
from assay.errors import FailedPrecondition, Internal, InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"


def text(trained: Any, sequences: int, tokens: int) -> api.TextSelection:
    return api.TextSelection(text=trained.text, sequences=sequences, sequence_tokens=tokens)


@pytest.fixture(scope="module")
def calibration(connection: Connection, stub: Any, trained: Any) -> Any:
    asked = api.CalibrateEarlyExitRequest(
        request_id=new_id(), model=trained.model, text=text(trained, 64, 48), epsilon=0.3, delta=0.1
    )
    return connection.run(stub.CalibrateEarlyExit, asked, api.CalibrateEarlyExitResult)


def test_a_profile_counts_every_layer(connection: Connection, stub: Any, trained: Any) -> None:
    asked = api.ProfileEarlyExitRequest(request_id=new_id(), model=trained.model, text=text(trained, 12, 64))
    found = connection.run(stub.ProfileEarlyExit, asked, api.ProfileEarlyExitResult)
    assert [layer.layer for layer in found.layers] == [1, 2, 3, 4]
    assert (found.layers[-1].agreement, found.layers[-1].saturated, found.layers[-1].divergence_nats) == (1, 1, 0)
    assert found.tokens == 12 * 64 == sum(kind.tokens for kind in found.classes)
    for layer in found.layers:
        assert layer.saturated <= layer.agreement + 1e-12
    # 1 - E[saturation layer] / L, from the curve alone: the sum of its values below the last layer over L.
    assert found.oracle_saving == pytest.approx(sum(layer.saturated for layer in found.layers[:-1]) / 4)
    assert len(found.rules) == 5
    files = {file.path for file in connection.artifacts.get(found.profile).manifest.files}
    assert files >= {"exit_profile.safetensors", "profile.json"}


def test_calibrated_thresholds_are_generated_by(
    connection: Connection, stub: Any, trained: Any, calibration: Any
) -> None:
    assert calibration.certified
    assert calibration.risk <= 0.3
    assert 0 < calibration.gross_saving <= 0.75  # three of four layers at most
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_RISK_CONTROLLED, calibration=calibration.calibration)
    answer = generate(stub, request(trained.model, CODE, 32, early_exit=early_exit))
    assert len(answer.tokens) == 32
    assert set(answer.exits) <= {1, 2, 3, 4}
    assert min(answer.exits) < 4
    with pytest.raises(FailedPrecondition, match="another checkpoint"):
        generate(stub, request(trained.other, CODE, 4, early_exit=early_exit))


def test_a_calibration_made_under_sparse_attention_is_generated_under_it(
    connection: Connection, stub: Any, trained: Any, calibration: Any
) -> None:
    def calibrate(epsilon: float) -> api.CalibrateEarlyExitResult:
        asked = api.CalibrateEarlyExitRequest(
            request_id=new_id(),
            model=trained.model,
            text=text(trained, 24, 96),
            epsilon=epsilon,
            delta=0.1,
            rule=api.EXIT_RULE_MARGIN,
            skip_tokens=72,
            sparse=CHOOSING,
        )
        found: api.CalibrateEarlyExitResult = connection.run(
            stub.CalibrateEarlyExit, asked, api.CalibrateEarlyExitResult
        )
        return found

    def early(calibrated: str, sparse: api.SparseConfig | None = None) -> Any:
        early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_RISK_CONTROLLED, calibration=calibrated)
        asked = request(trained.model, CODE * 3, 32, sparse=sparse, early_exit=early_exit, ignore_end=True)
        return generate(stub, asked)

    found = calibrate(0.4)
    assert found.certified
    assert found.risk <= 0.4
    assert (found.sparse.target_density, found.sparse.block_size, found.sparse.degree) == (0.4, 16, 3)
    answer = early(found.calibration)
    assert answer.exits[0] == 4
    assert min(answer.exits) < 4
    assert answer.usage.density < 0.8
    assert answer.usage.layers[0].fallback
    for sparse in (CHOOSING, found.sparse):  # what is asked for, its defaults left out or filled in, is what was made
        assert early(found.calibration, sparse).tokens == answer.tokens
    other = api.SparseConfig()
    other.CopyFrom(CHOOSING)
    other.target_density = 0.5
    with pytest.raises(FailedPrecondition, match=r"sparse\.target_density: is 0\.5, .* at 0\.4; leave sparse out"):
        early(found.calibration, other)
    with pytest.raises(FailedPrecondition, match="calibrated on dense attention; leave it out"):
        early(calibration.calibration, CHOOSING)

    # Nothing certified: no token leaves, and the tokens are those of sparse greedy decoding.
    careful = calibrate(1e-6)
    assert not careful.certified
    whole = early(careful.calibration)
    greedy = generate(stub, request(trained.model, CODE * 3, 32, sparse=CHOOSING, ignore_end=True))
    assert whole.tokens == greedy.tokens
    assert set(whole.exits) == {4}
    assert whole.usage.density == greedy.usage.density


def test_sparse_settings_that_do_not_fit_are_not_calibrated_under(
    connection: Connection, stub: Any, trained: Any
) -> None:
    asked = api.CalibrateEarlyExitRequest(
        request_id=new_id(), model=trained.model, text=text(trained, 4, 48), sparse=api.SparseConfig(block_size=24)
    )
    with pytest.raises(InvalidInput) as caught:
        connection.run(stub.CalibrateEarlyExit, asked, api.CalibrateEarlyExitResult)
    assert [violation.field for violation in caught.value.violations] == ["sparse.block_size"]


def test_a_model_of_no_numbers_is_the_same_error_everywhere(connection: Connection, stub: Any, trained: Any) -> None:
    folder = trained.artifacts.path(trained.model)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights = load_tensors(files["model.safetensors"])
    weights["model.norm.weight"] *= math.nan
    files["model.safetensors"] = save(weights, metadata={"format": "pt"})
    model = trained.artifacts.put("model", files)
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[2])
    subject: dict[str, Any] = {"request_id": new_id(), "model": model, "text": text(trained, 4, 64)}
    asked = [
        lambda: generate(stub, request(model, CODE, 4)),
        lambda: generate(stub, request(model, CODE, 4, sparse=SPARSE)),
        lambda: generate(stub, request(model, CODE, 4, early_exit=early_exit)),
        lambda: connection.call(stub.Score, api.ScoreRequest(model=model, texts=[CODE])),
        lambda: connection.call(stub.Prefill, api.PrefillRequest(model=model, prompt=api.Prompt(text=CODE))),
        lambda: connection.run(
            stub.PlanSparsity, api.PlanSparsityRequest(**subject, sparse=SPARSE), api.PlanSparsityResult
        ),
        lambda: connection.run(
            stub.CompareSelection, api.CompareSelectionRequest(**subject, sparse=SPARSE), api.CompareSelectionResult
        ),
    ]
    retried = []
    for one in asked:
        with pytest.raises(Internal, match="no numbers") as caught:
            one()
        assert caught.value.reason == "NON_FINITE"
        retried.append("again with dense" in caught.value.message)
    # Sparse attention alone has something else to try; a measurement of it has not.
    assert retried == [False, True, False, False, False, False, False]
    assert REGISTRY.get_sample_value("assay_inference_optimizer_dense_retries_total", {"outcome": "failed"})


def test_skipped_tokens_are_context_alone(connection: Connection, stub: Any, trained: Any) -> None:
    def calibrate(skip: int) -> api.CalibrateEarlyExitResult:
        asked = api.CalibrateEarlyExitRequest(
            request_id=new_id(),
            model=trained.model,
            text=text(trained, 16, 48),
            epsilon=0.5,
            rule=api.EXIT_RULE_MARGIN,
            skip_tokens=skip,
        )
        found: api.CalibrateEarlyExitResult = connection.run(
            stub.CalibrateEarlyExit, asked, api.CalibrateEarlyExitResult
        )
        return found

    kept = {}
    for skip in (0, 40):
        files = connection.artifacts.read(calibrate(skip).calibration, "exit_profile.safetensors")
        kept[skip] = int(load(files)["tokens"].sum())
    assert kept == {0: 16 * 48, 40: 16 * 8}
    with pytest.raises(InvalidInput, match="skip_tokens"):
        calibrate(48)


def test_a_plan_is_generated_by(connection: Connection, stub: Any, trained: Any) -> None:
    asked = api.PlanSparsityRequest(
        request_id=new_id(),
        model=trained.model,
        text=text(trained, 6, 256),
        max_loss_increase_nats=0.5,
        sparse=SPARSE,
        length=512,
    )
    plan = connection.run(stub.PlanSparsity, asked, api.PlanSparsityResult)
    assert plan.within_budget
    assert plan.increase_nats.high <= 0.5
    assert plan.loss_nats - plan.dense_loss_nats == pytest.approx(plan.increase_nats.mean, abs=1e-9)
    assert plan.predicted_attention_ratio > plan.predicted_prefill_ratio > 1
    assert len(plan.sparse.layer_densities) == 4
    assert min(plan.sparse.layer_densities) < 1
    answer = generate(stub, request(trained.model, CODE * 6, 4, sparse=plan.sparse))
    assert answer.usage.density < 1
    stored = json.loads(connection.artifacts.read(plan.plan, "plan.json"))
    assert stored["loss_nats"] == plan.loss_nats


def test_every_way_to_choose_blocks_is_compared_at_one_density(connection: Connection, stub: Any, trained: Any) -> None:
    asked = api.CompareSelectionRequest(
        request_id=new_id(), model=trained.model, text=text(trained, 6, 256), sparse=SPARSE
    )
    found = connection.run(stub.CompareSelection, asked, api.CompareSelectionResult)
    methods = {method.selection: method for method in found.methods}
    assert set(methods) == set(api.Selection.values()) - {api.SELECTION_UNSPECIFIED}
    assert methods[api.SELECTION_DENSE].increase_nats.mean == 0
    densities = [method.density for method in found.methods if method.selection != api.SELECTION_DENSE]
    assert max(densities) - min(densities) < 0.005
    for method in found.methods:
        assert method.increase_nats.low <= method.increase_nats.mean <= method.increase_nats.high


def test_chosen_blocks_are_shown(connection: Connection, stub: Any, trained: Any) -> None:
    asked = api.InspectSelectionRequest(
        request_id=new_id(), model=trained.model, text=api.TextSelection(literal=CODE * 20, sequence_tokens=400)
    )
    asked.sparse.CopyFrom(SPARSE)
    found = connection.run(stub.InspectSelection, asked, api.InspectSelectionResult)
    assert [layer.layer for layer in found.layers] == [0, 1, 2, 3]
    assert found.layers[0].fallback
    attended = causal = 0
    for row, blocks in enumerate(found.layers[1].query_blocks):
        chosen = list(blocks.key_blocks)
        assert chosen == sorted(set(chosen))
        assert {0, row} <= set(chosen)  # the sink, and the query block itself
        assert chosen[-1] <= row
        # 400 tokens are 25 whole blocks: an earlier block gives 16 * 16 pairs, its own 16 * 17 / 2.
        attended += 256 * (len(chosen) - 1) + 136
        causal += 256 * row + 136
    assert found.layers[1].density == pytest.approx(attended / causal, rel=1e-12)
    assert 0 < found.layers[1].mass <= found.layers[1].oracle_mass + 1e-6 <= 1 + 1e-5
    assert b"currentColor" in connection.artifacts.read(found.selection, "heat-map.svg")


@pytest.mark.parametrize("phase", [api.ATTENTION_PHASE_PREFILL, api.ATTENTION_PHASE_DECODE])
def test_a_benchmark_counts_what_it_times(connection: Connection, stub: Any, phase: int) -> None:
    asked = api.BenchmarkAttentionRequest(
        request_id=new_id(),
        phase=phase,  # type: ignore[arg-type]
        device="cpu",
        length=1024,
        query_heads=4,
        kv_heads=2,
        head_dim=32,
        rounds=1,
        sparse=api.SparseConfig(target_density=0.25, block_size=32, sink_tokens=32, window_tokens=32),
    )
    found = connection.run(stub.BenchmarkAttention, asked, api.BenchmarkAttentionResult)
    # A prefill meets its budget over all rows; one decoding step takes whole blocks of 32 of its 1,024 tokens.
    assert found.density == pytest.approx(0.25, abs=0.01 if phase == api.ATTENTION_PHASE_PREFILL else 2 / 32)
    assert found.baseline == min(found.paths_ms, key=lambda name: found.paths_ms[name])
    assert found.dense_ms == found.paths_ms[found.baseline]
    assert 0 < found.selection_ms < found.sparse_ms
    assert found.ratio == pytest.approx(found.dense_ms / found.sparse_ms)
    assert (found.dtype, found.device) == ("float32", "cpu, 1 thread")


def test_a_device_that_is_not_there_is_told(connection: Connection, stub: Any) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    asked = api.BenchmarkAttentionRequest(request_id=new_id(), device="cuda", length=256)
    with pytest.raises(FailedPrecondition, match="no CUDA device"):
        connection.run(stub.BenchmarkAttention, asked, api.BenchmarkAttentionResult)


def test_the_section_of_a_report_card(connection: Connection, trained: Any) -> None:
    asked = checkup_pb2.ExamineRequest(
        request_id=new_id(), service="inference_optimizer", model=trained.model, text=trained.text
    )
    checkup = checkup_pb2_grpc.CheckupServiceStub(connection.channel)
    result = connection.run(checkup.Examine, asked, checkup_pb2.ExamineResult)
    section = Section.from_document(connection.artifacts.read(result.section, DOCUMENT))
    assert section.service == "inference_optimizer"
    assert {plot.file for plot in section.plots} == {"density.svg", "blocks.svg", "exits.svg", "rules.svg"}
    for plot in section.plots:
        svg = connection.artifacts.read(result.section, plot.file)
        assert b"<svg" in svg
        assert b"currentColor" in svg
    lineage = {artifact.digest for artifact in connection.artifacts.lineage(result.section)}
    assert set((section.lineage or {}).values()) | {trained.text} <= lineage
