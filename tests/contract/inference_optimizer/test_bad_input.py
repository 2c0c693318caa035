"""Every kind of bad input that the service is made to name, over a real socket."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

import pytest
from contract.inference_optimizer.asking import SPARSE, generate, request

from assay.client.connection import Connection
from assay.errors import (
    AssayError,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Unimplemented,
)
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

SPECULATIVE = api.EARLY_EXIT_MODE_SPECULATIVE
NAN = math.nan


def sparse(**fields: Any) -> api.SparseConfig:
    changed = api.SparseConfig()
    changed.CopyFrom(SPARSE)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(changed, name).extend(value)
        else:
            setattr(changed, name, value)
    return changed


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"sparse": sparse(target_density=0.0)}, InvalidInput, "sparse.target_density"),
        ({"sparse": sparse(target_density=1.5)}, InvalidInput, "sparse.target_density"),
        ({"sparse": sparse(target_density=NAN)}, InvalidInput, "sparse.target_density"),
        ({"sparse": sparse(block_size=8)}, InvalidInput, "sparse.block_size"),
        ({"sparse": sparse(block_size=48)}, InvalidInput, "sparse.block_size"),
        ({"sparse": sparse(block_size=-16)}, InvalidInput, "sparse.block_size"),
        ({"sparse": sparse(sketch_dim=16)}, InvalidInput, "sparse.sketch_dim"),  # heads of dimension 8
        ({"sparse": sparse(sketch_dim=-1)}, InvalidInput, "sparse.sketch_dim"),
        ({"sparse": sparse(damping=1.0)}, InvalidInput, "sparse.damping"),
        ({"sparse": sparse(damping=-0.1)}, InvalidInput, "sparse.damping"),
        ({"sparse": sparse(damping=NAN)}, InvalidInput, "sparse.damping"),
        ({"sparse": sparse(degree=-1)}, InvalidInput, "sparse.degree"),
        ({"sparse": sparse(dense_layers=5)}, InvalidInput, "sparse.dense_layers"),
        ({"sparse": sparse(sink_tokens=-1)}, InvalidInput, "sparse.sink_tokens"),
        ({"sparse": sparse(layer_densities=[0.5])}, InvalidInput, "sparse.layer_densities"),
        ({"sparse": sparse(layer_densities=[0.5, 0.5, 0.0, 1.0])}, InvalidInput, "sparse.layer_densities[2]"),
        ({"sparse": sparse(variant=77)}, InvalidInput, "sparse.variant"),
        ({"sparse": sparse(selection=77)}, InvalidInput, "sparse.selection"),
        ({"sparse": sparse(density_scope=77)}, InvalidInput, "sparse.density_scope"),
        ({"prompt": []}, InvalidInput, "prompt"),
        ({"prompt": [1, 512]}, InvalidInput, "prompt.tokens.ids[1]"),
        ({"prompt": [-1]}, InvalidInput, "prompt.tokens.ids[0]"),
        ({"prompt": "word " * 600}, OutOfRange, ""),
        ({"new": 512}, OutOfRange, ""),
        ({"new": 0}, InvalidInput, "sampling.max_new_tokens"),
        ({"new": -5}, InvalidInput, "sampling.max_new_tokens"),
        ({"temperature": -0.5}, InvalidInput, "sampling.temperature"),
        ({"temperature": NAN}, InvalidInput, "sampling.temperature"),
        ({"temperature": math.inf}, InvalidInput, "sampling.temperature"),
        ({"top_p": 1.5}, InvalidInput, "sampling.top_p"),
        ({"top_p": NAN}, InvalidInput, "sampling.top_p"),
        ({"top_k": -1}, InvalidInput, "sampling.top_k"),
        ({"stop": ["fine", ""]}, InvalidInput, "sampling.stop[1]"),
        ({"stop": ["x"] * 17}, InvalidInput, "sampling.stop"),
        ({"alternatives": 21}, InvalidInput, "sampling.alternatives"),
        ({"exit": {"mode": SPECULATIVE}}, InvalidInput, "early_exit.exit_layers"),
        ({"exit": {"mode": SPECULATIVE, "exit_layers": [0]}}, InvalidInput, "early_exit.exit_layers[0]"),
        ({"exit": {"mode": SPECULATIVE, "exit_layers": [4]}}, InvalidInput, "early_exit.exit_layers[0]"),
        (
            {"exit": {"mode": SPECULATIVE, "exit_layers": [1], "draft_tokens": -1}},
            InvalidInput,
            "early_exit.draft_tokens",
        ),
        ({"exit": {"mode": SPECULATIVE, "exit_layers": [1]}, "temperature": 1.0}, InvalidInput, "sampling.temperature"),
        ({"exit": {"mode": 77}}, InvalidInput, "early_exit.mode"),
        ({"exit": {"mode": api.EARLY_EXIT_MODE_RISK_CONTROLLED}}, FailedPrecondition, ""),
        (
            {"exit": {"mode": api.EARLY_EXIT_MODE_RISK_CONTROLLED, "calibration": "sha256:" + "0" * 64}},
            NotFound,
            "",
        ),
        ({"model": ""}, InvalidInput, "model"),
        ({"model": "no-such-label"}, NotFound, ""),
        ({"model": "sha256:" + "0" * 64}, NotFound, ""),
    ],
)
def test_what_is_wrong_with_generate_is_named(
    stub: Any, trained: Any, fields: dict[str, Any], error: type[AssayError], field: str
) -> None:
    exit_fields = fields.pop("exit", None)
    asked = request(
        fields.pop("model", trained.model),
        fields.pop("prompt", "import os\n"),
        fields.pop("new", 4),
        sparse=fields.pop("sparse", None),
        early_exit=api.EarlyExitConfig(**exit_fields) if exit_fields else None,
        **fields,
    )
    with pytest.raises(error) as caught:
        generate(stub, asked)
    if field:
        assert [violation.field for violation in caught.value.violations] == [field]


def test_a_prompt_left_out_is_named(stub: Any, trained: Any) -> None:
    asked = request(trained.model, "x", 4)
    asked.ClearField("prompt")
    with pytest.raises(InvalidInput, match="prompt"):
        generate(stub, asked)
    asked.prompt.conversation.SetInParent()
    with pytest.raises(InvalidInput, match="messages"):
        generate(stub, asked)


def test_another_kind_of_artifact_is_no_model(connection: Connection, stub: Any, trained: Any) -> None:
    for method, asked in (
        (stub.LoadModel, api.LoadModelRequest(model=trained.text)),
        (stub.Score, api.ScoreRequest(model=trained.text, texts=["x"])),
        (stub.Prefill, api.PrefillRequest(model=trained.text)),
        (stub.PlanSparsity, api.PlanSparsityRequest(model=trained.text, text=api.TextSelection(literal="x"))),
    ):
        with pytest.raises(InvalidInput, match="kind text; give one of kind model"):
            connection.call(method, asked)


def test_what_is_wrong_with_score_is_named(connection: Connection, stub: Any, trained: Any) -> None:
    for texts, alternatives, named in (([], 0, "texts"), (["x", ""], 0, "texts[1]"), (["x"], 21, "alternatives")):
        with pytest.raises(InvalidInput) as caught:
            connection.call(stub.Score, api.ScoreRequest(model=trained.model, texts=texts, alternatives=alternatives))
        assert caught.value.violations[0].field == named
    for ids, named in (([], "tokens[1].ids"), ([1, 512], "tokens[1].ids[1]"), ([-1], "tokens[1].ids[0]")):
        tokens = [api.TokenIds(ids=[1]), api.TokenIds(ids=ids)]
        with pytest.raises(InvalidInput) as caught:
            connection.call(stub.Score, api.ScoreRequest(model=trained.model, tokens=tokens))
        assert caught.value.violations[0].field == named


def test_unsafe_and_damaged_checkpoints_are_refused(connection: Connection, stub: Any, trained: Any) -> None:
    folder = trained.artifacts.path(trained.model)
    config, weights = (folder / name for name in ("config.json", "model.safetensors"))

    def load(files: dict[str, bytes]) -> None:
        model = trained.artifacts.put("model", files)
        connection.call(stub.LoadModel, api.LoadModelRequest(model=model))

    plain, data = config.read_bytes(), weights.read_bytes()
    with pytest.raises(PermissionDenied, match="pickle"):
        load({"config.json": plain, "pytorch_model.bin": b"\x80\x04cos\nsystem\n."})
    code = json.dumps({**json.loads(plain), "auto_map": {"AutoModel": "evil.Model"}}).encode()
    with pytest.raises(PermissionDenied, match="auto_map"):
        load({"config.json": code, "model.safetensors": data})
    with pytest.raises(DataLoss, match=r"model\.safetensors"):
        load({"config.json": plain, "model.safetensors": data[: len(data) // 2]})
    with pytest.raises(InvalidInput, match="tokenizer"):
        load({"config.json": plain, "model.safetensors": data})
    with pytest.raises(Unimplemented, match="no language model"):
        load({"config.json": json.dumps({"model_type": "vit"}).encode(), "model.safetensors": data})


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("CalibrateEarlyExit", {"epsilon": 1.0}, "epsilon"),
        ("CalibrateEarlyExit", {"epsilon": -0.1}, "epsilon"),
        ("CalibrateEarlyExit", {"delta": 1.5}, "delta"),
        ("CalibrateEarlyExit", {"delta": NAN}, "delta"),
        ("CalibrateEarlyExit", {"rule": 77}, "rule"),
        ("CalibrateEarlyExit", {"skip_tokens": -1}, "skip_tokens"),
        ("PlanSparsity", {"max_loss_increase_nats": -1.0}, "max_loss_increase_nats"),
        ("PlanSparsity", {"max_loss_increase_nats": NAN}, "max_loss_increase_nats"),
        ("PlanSparsity", {"length": -1}, "length"),
        ("CompareSelection", {"selections": [77]}, "selections[0]"),
        ("BenchmarkAttention", {"device": "tpu"}, "device"),
        ("BenchmarkAttention", {"dtype": "int8"}, "dtype"),
        ("BenchmarkAttention", {"length": -1}, "length"),
        ("BenchmarkAttention", {"phase": 77}, "phase"),
        ("BenchmarkAttention", {"phase": api.ATTENTION_PHASE_DECODE, "length": 1}, "length"),
    ],
)
def test_long_methods_refuse_at_the_call(
    connection: Connection, stub: Any, trained: Any, method: str, fields: dict[str, Any], field: str
) -> None:
    kind = getattr(api, f"{method}Request")
    subject = {} if method == "BenchmarkAttention" else {"model": trained.model, "text": api.TextSelection(literal="x")}
    with pytest.raises(InvalidInput) as caught:
        connection.call(getattr(stub, method), kind(request_id=str(uuid.uuid4()), **subject, **fields))
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ({}, "text"),
        ({"literal": "x", "text": "y"}, "text"),
        ({"literal": "x", "sequences": -1}, "text.sequences"),
        ({"literal": "x", "sequence_tokens": 1}, "text.sequence_tokens"),
    ],
)
def test_bad_text_selections_are_named(
    connection: Connection, stub: Any, trained: Any, text: dict[str, Any], named: str
) -> None:
    asked = api.ProfileEarlyExitRequest(
        request_id=str(uuid.uuid4()), model=trained.model, text=api.TextSelection(**text)
    )
    with pytest.raises(InvalidInput) as caught:
        connection.call(stub.ProfileEarlyExit, asked)
    assert caught.value.violations[0].field == named


@pytest.mark.parametrize(
    ("method", "fields", "named"),
    [
        ("InspectSelection", {"sparse": sparse(block_size=8)}, "block_size"),
        ("PlanSparsity", {"sparse": sparse(sketch_dim=16)}, "sketch_dim"),
        ("CalibrateEarlyExit", {"exit_layers": [4]}, "exit_layers"),
        ("BenchmarkAttention", {"query_heads": 6, "kv_heads": 4}, "kv_heads"),
        ("BenchmarkAttention", {"length": 2**20, "batch": 4}, "the most"),
        ("InspectSelection", {"text": api.TextSelection(literal="short")}, "fills no window"),
        ("InspectSelection", {"text": api.TextSelection(literal="x" * 99, sequence_tokens=4096)}, "512"),
    ],
)
def test_what_only_the_model_shows_fails_the_operation(
    connection: Connection, stub: Any, trained: Any, method: str, fields: dict[str, Any], named: str
) -> None:
    kind, result = getattr(api, f"{method}Request"), getattr(api, f"{method}Result")
    subject: dict[str, Any] = {}
    if method != "BenchmarkAttention":
        text = api.TextSelection(literal="import os\n" * 200, sequences=4, sequence_tokens=64)
        subject = {"model": trained.model, "text": text}
    with pytest.raises(InvalidInput, match=named):
        connection.run(getattr(stub, method), kind(request_id=str(uuid.uuid4()), **{**subject, **fields}), result)
