"""A store that goes away, stored weights that are damaged, and a training whose process is killed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY
from google.longrunning import operations_pb2, operations_pb2_grpc
from probe.service_process import ServiceProcess
from probe.serving import wait_until
from safetensors import safe_open

from assay.artifacts.objects import open_object_store
from assay.artifacts.store import ArtifactStore
from assay.client.connection import Connection, connect
from assay.client.errors import error_from_rpc
from assay.config import Config
from assay.errors import AssayError, DataLoss, Unavailable
from assay.tom_verifier.v1 import stories_pb2, tom_verifier_pb2_grpc, traces_pb2, verifier_pb2
from assay.zoo.resume import FILE
from assay_tom_verifier import engine_training, kinds
from assay_tom_verifier.core.verifier import train

STEPS = [traces_pb2.TraceStep(claim=claim) for claim in CLAIMS]
CANDIDATES = verifier_pb2.CandidateSet(
    story=STORY,
    question=stories_pb2.AskedQuestion(text=QUESTION),
    traces=[traces_pb2.GivenTrace(trace=traces_pb2.Trace(steps=STEPS))],
)


@pytest.fixture
def bucket(minio_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """URL of an empty store in a real MinIO, with its keys in the environment."""
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", minio_server.access_key)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", minio_server.secret_key)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url: str = minio_server.make_bucket(f"tom-{uuid.uuid4().hex[:12]}")
    return url


def copies(source: Connection, digest: str, store: ArtifactStore) -> Iterator[str]:
    """The trained verifier's files in another store, time and again under another digest."""
    files = {
        file.path: source.artifacts.read(digest, file.path) for file in source.artifacts.get(digest).manifest.files
    }
    while True:
        yield store.put(kinds.VERIFIER, files, parameters={"copy": uuid.uuid4().hex})


def refusal(call: Any, request: Any) -> AssayError:
    """Asked once: a client's own patience would wait for the store."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return error_from_rpc(caught.value)


def test_a_loaded_verifier_scores_on_while_the_store_is_away(
    connection: Connection, trained: Any, bucket: str, minio_server: Any
) -> None:
    config = Config(store=bucket)
    artifacts = config.open_artifacts()
    loaded, unloaded = (
        digest for digest, _ in zip(copies(connection, trained.verifier, artifacts), "ab", strict=False)
    )
    artifacts.set_label("judge", loaded, None)
    with connect("tom_verifier", config=config) as front:
        stub: Any = tom_verifier_pb2_grpc.TomVerifierServiceStub(front.channel)

        def request(verifier: str) -> verifier_pb2.ScoreTracesRequest:
            return verifier_pb2.ScoreTracesRequest(verifier=verifier, candidates=CANDIDATES)

        before = front.call(stub.ScoreTraces, request("judge"))
        assert before.verifier == loaded
        minio_server.kill()
        try:
            assert front.call(stub.ScoreTraces, request(loaded)) == before
            stream = verifier_pb2.ScoreTraceStreamRequest(verifier=loaded, candidates=CANDIDATES)
            assert [list(reply.scores) for reply in stub.ScoreTraceStream(iter([stream]))] == [list(before.scores)]
            for reference in (unloaded, "judge"):
                error = refusal(stub.ScoreTraces, request(reference))
                assert isinstance(error, Unavailable), error
                assert error.retry_after_s
                assert "named by its whole digest" in error.message
        finally:
            minio_server.restart()
        assert front.call(stub.ScoreTraces, request(unloaded)).scores == before.scores


@pytest.mark.parametrize("name", ["model.safetensors", "shape.json"])
def test_a_verifier_that_is_damaged_in_the_store_scores_nothing(
    connection: Connection, trained: Any, bucket: str, name: str
) -> None:
    config = Config(store=bucket)
    artifacts = config.open_artifacts()
    digest = next(copies(connection, trained.verifier, artifacts))
    (file,) = (file for file in artifacts.manifest(digest).files if file.path == name)
    key, objects = f"blobs/{file.sha256}", open_object_store(bucket)
    whole, info = objects.get(key), objects.head(key)
    assert info is not None
    flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])
    version = objects.compare_and_swap(key, flipped, info.version)
    with connect("tom_verifier", config=config) as front:
        stub: Any = tom_verifier_pb2_grpc.TomVerifierServiceStub(front.channel)
        request = verifier_pb2.ScoreTracesRequest(verifier=digest, candidates=CANDIDATES)
        error = refusal(stub.ScoreTraces, request)
        assert isinstance(error, DataLoss), error
        assert name in error.message
        assert "put the artifact again" in error.message
        # Nothing of the damage stays behind once the bytes are back.
        assert objects.compare_and_swap(key, whole, version)
        assert front.call(stub.ScoreTraces, request).scores


def test_a_verifier_whose_shape_is_another_network_scores_nothing(
    connection: Connection, trained: Any, stub: Any, store: str
) -> None:
    """Whole bytes of files that do not belong together."""
    source = connection.artifacts
    shape = json.loads(source.read(trained.verifier, "shape.json"))
    files = {
        "model.safetensors": source.read(trained.verifier, "model.safetensors"),
        "shape.json": json.dumps({**shape, "width": 2 * shape["width"]}).encode(),
    }
    digest = Config(store=store).open_artifacts().put(kinds.VERIFIER, files)
    request = verifier_pb2.ScoreTracesRequest(verifier=digest, candidates=CANDIDATES)
    assert isinstance(refusal(stub.ScoreTraces, request), DataLoss)


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = (tmp_path / "store").as_uri(), tmp_path / "cache"
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(cache))
    taken = {"reading": 0, "judging": 0}

    def counted(name: str, loss: Any) -> Any:
        def at_a_step(*arguments: Any) -> Any:
            taken[name] += 1
            return loss(*arguments)

        return at_a_step

    monkeypatch.setattr(
        engine_training, "STORIES", 8
    )  # measured after the training; the killed front never comes to it
    losses: Any = train
    for name, loss in (("reading", "generator_loss"), ("judging", "verifier_loss")):
        monkeypatch.setattr(losses, loss, counted(name, getattr(losses, loss)))

    def request() -> verifier_pb2.TrainPbmRequest:
        return verifier_pb2.TrainPbmRequest(
            request_id=str(uuid.uuid4()), steps=60, generator_steps=20, batch=16, seed=11
        )

    def judged() -> int:
        """Steps of judging that are safe on disk."""
        found = list(cache.rglob(f"judging/{FILE}"))
        if not found:
            return 0
        with safe_open(found[0], framework="pt") as stored:
            return int(json.loads(stored.metadata()["state"])["step"])

    with connect("tom_verifier", config=Config(store=store)) as front:
        stub: Any = tom_verifier_pb2_grpc.TomVerifierServiceStub(front.channel)
        unbroken = front.wait(front.call(stub.TrainPbm, request()).operation).response.value
        assert taken == {"reading": 20 + 8, "judging": 60}
        taken.update(reading=0, judging=0)
        doomed = ServiceProcess(
            "tom_verifier",
            store,
            environment={"PYTHONPATH": str(Path(__file__).parents[2])},
            module="contract.tom_verifier.front_saving_often",
        )
        with connect("tom_verifier", doomed.address) as connection:
            other: Any = tom_verifier_pb2_grpc.TomVerifierServiceStub(connection.channel)
            operation = connection.call(other.TrainPbm, request()).operation
            operations = operations_pb2_grpc.OperationsStub(connection.channel)

            def under_way() -> bool:
                asked = operations_pb2.GetOperationRequest(name=operation.name)
                found = connection.call(operations.GetOperation, asked)
                assert not found.done, found  # before it could be killed
                return judged() > 0

            wait_until(under_way, 120)
            doomed.kill()
        safe = judged()
        assert 0 < safe < 60
        # The front in this process takes it up once the dead one is taken for dead.
        assert front.wait(operation).response.value == unbroken
    assert taken == {"reading": 0, "judging": 60 - safe}
    assert not list(cache.rglob(FILE))
