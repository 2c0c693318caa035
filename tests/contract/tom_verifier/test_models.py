"""What is asked about a language model, over a real socket: its checkup section, its masks, its frequencies."""

from __future__ import annotations

import email
import json
import logging
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.tom_verifier.test_cli import assay

from assay.cancel import CancelToken
from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.client.connection import Connection
from assay.config import Config
from assay.errors import InvalidInput
from assay.progress import silent
from assay.tom_verifier.v1 import sensitivity_pb2
from assay.zoo.recipes import RECIPES
from assay.zoo.store import ensure_model, ensure_text

MICRO = replace(
    RECIPES["llama-tiny"],
    name="llama-micro",
    config={**RECIPES["llama-tiny"].config, "hidden_size": 32, "intermediate_size": 64},
    steps=60,
    batch=4,
    sequence_length=64,
    learning_rate=1e-2,
    warmup_steps=10,
    vocabulary=512,
)


@pytest.fixture(scope="module")
def model(store: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Digests of a small model of Python's own sources, which knows nothing of beliefs, and of its text."""
    folder, artifacts = tmp_path_factory.mktemp("text"), Config(store=store).open_artifacts()
    for package in (email, json, logging):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, folder / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
    text = ensure_text(artifacts, folder)
    return ensure_model(artifacts, MICRO, seed=0, cancel=CancelToken(), progress=silent, text=text), text


def test_a_model_at_chance_is_said_to_be_at_chance(connection: Connection, model: tuple[str, str]) -> None:
    request = checkup_pb2.ExamineRequest(
        request_id=str(uuid.uuid4()), service="tom_verifier", model=model[0], text=model[1]
    )
    stub = checkup_pb2_grpc.CheckupServiceStub(connection.channel)
    section = connection.run(stub.Examine, request, checkup_pb2.ExamineResult).section
    document = json.loads(connection.artifacts.read(section, "section.json"))
    assert document["service"] == "tom_verifier"
    assert "at chance" in document["answer"]
    (table,) = document["tables"]
    assert [row[0] for row in table["rows"]] == [0, 1, 2, 3, 4]
    for row in table["rows"]:
        alone, chance, verified = row[1], row[4], row[6]
        assert abs(alone - chance) < 0.15
        assert verified > alone
    assert b"<svg" in connection.artifacts.read(section, "orders.svg")


@pytest.mark.slow
def test_masks_are_scanned_perturbed_and_their_frequencies_compared(
    connection: Connection, stub: Any, model: tuple[str, str], store: str, tmp_path: Path
) -> None:
    scan = sensitivity_pb2.ScanSensitivityRequest(
        request_id=str(uuid.uuid4()), model=model[0], text=model[1], shares=[0.01, 0.05], samples=4
    )
    masks = connection.run(stub.ScanSensitivity, scan, sensitivity_pb2.ScanSensitivityResult).masks
    assert [one.share for one in masks] == [0.01, 0.05]
    assert 50 <= masks[0].masked < masks[1].masked <= 0.05 * masks[1].parameters
    perturb = sensitivity_pb2.PerturbAndEvaluateRequest(
        request_id=str(uuid.uuid4()), model=model[0], text=model[1], masks=[masks[0].mask], controls=1
    )
    result = connection.run(stub.PerturbAndEvaluate, perturb, sensitivity_pb2.PerturbAndEvaluateResult)
    assert [one.name for one in result.after] == ["tom", "general", "magnitude", "random 0"]
    assert {one.masked for one in result.after} == {masks[0].masked}
    assert not result.conclusive
    assert "nothing can be concluded" in result.standing
    assert result.before.perplexity > 1
    assert b"<svg" in connection.artifacts.read(result.perturbation, "masks.svg")
    rope = sensitivity_pb2.AnalyzeRopeRequest(request_id=str(uuid.uuid4()), model=model[0], mask=masks[0].mask)
    analysed = connection.run(stub.AnalyzeRope, rope, sensitivity_pb2.AnalyzeRopeResult)
    heads = analysed.heads
    assert len(heads) == 4 * 4
    for head in heads:
        assert 0 <= head.first_token_attention <= 1
        assert head.HasField("first_token_attention_after")
    drawn = tmp_path / "after.svg"
    shown = assay(store, "rope", model[0], "--mask", masks[0].mask, "--out", str(drawn))
    assert shown.returncode == 0, shown.stderr
    columns, *rows = shown.stdout.splitlines()
    assert columns.count("query-key angle, rad") == 2
    assert columns.endswith("query-key angle, rad, after")
    for head, row in zip(heads, rows, strict=False):
        figures = row.split()
        assert figures[2:4] == [str(head.dominant_pair), f"{head.first_token_attention:.3f}"]
        assert figures[5:7] == [str(head.dominant_pair_after), f"{head.first_token_attention_after:.3f}"]
    assert drawn.read_bytes() == connection.artifacts.read(analysed.analysis, "frequencies-after.svg")
    assert drawn.read_bytes() != connection.artifacts.read(analysed.analysis, "frequencies.svg")


def test_a_share_that_masks_too_few_weights_is_refused(
    connection: Connection, stub: Any, model: tuple[str, str]
) -> None:
    scan = sensitivity_pb2.ScanSensitivityRequest(
        request_id=str(uuid.uuid4()), model=model[0], text=model[1], shares=[1e-5], samples=2
    )
    with pytest.raises(InvalidInput, match="masks 0 of"):
        connection.run(stub.ScanSensitivity, scan, sensitivity_pb2.ScanSensitivityResult)
