"""Methods whose protos say that they may be repeated: the second call gives what the first did, and adds nothing."""

from __future__ import annotations

import uuid
from typing import Any

from contract.tom_verifier.conftest import MODEL, QUESTION, STORY
from google.longrunning import operations_pb2
from google.protobuf.message import Message

from assay.artifacts.store import ArtifactStore
from assay.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from assay.client.connection import Connection
from assay.tom_verifier.v1 import epistemic_pb2, stories_pb2, verifier_pb2


def twice(connection: Connection, method: Any, request: Message) -> tuple[Message, Message]:
    return connection.call(method, request), connection.call(method, request)


def test_reads_answer_the_same(connection: Connection, stub: Any) -> None:
    story = stories_pb2.ParseStoryRequest(story=STORY)
    question = stories_pb2.AnswerQuestionRequest(story=STORY, question=stories_pb2.AskedQuestion(text=QUESTION))
    check = epistemic_pb2.ModelCheckRequest(text=MODEL + "claim K[a] q\n")
    for method, request in ((stub.ParseStory, story), (stub.AnswerQuestion, question), (stub.ModelCheck, check)):
        first, second = twice(connection, method, request)
        for answer in (first, second):
            if "seconds" in answer.DESCRIPTOR.fields_by_name:  # how long it took
                answer.ClearField("seconds")
        assert first.ByteSize()
        assert first == second


def test_what_creates_finds_what_it_created(connection: Connection, stub: Any, artifacts: ArtifactStore) -> None:
    model = connection.call(stub.CreateModel, epistemic_pb2.CreateModelRequest(text=MODEL)).model.model
    source = epistemic_pb2.ModelSource(model=model)
    connection.call(stub.Contract, epistemic_pb2.ContractRequest(model=source))
    connection.call(stub.UpdateModel, epistemic_pb2.UpdateModelRequest(model=source, events="announce p\n"))
    before = {each.digest for each in artifacts.list()}
    for method, request in (
        (stub.CreateModel, epistemic_pb2.CreateModelRequest(text=MODEL)),
        (stub.Contract, epistemic_pb2.ContractRequest(model=source)),
        (stub.UpdateModel, epistemic_pb2.UpdateModelRequest(model=source, events="announce p\n")),
    ):
        first, second = twice(connection, method, request)
        assert first == second
    assert {each.digest for each in artifacts.list()} == before
    service = artifacts_pb2_grpc.ArtifactServiceStub(connection.channel)
    manifest = connection.call(service.GetArtifact, artifacts_pb2.GetArtifactRequest(reference=model)).artifact.manifest
    again = connection.call(service.CreateArtifact, artifacts_pb2.CreateArtifactRequest(manifest=manifest))
    assert (again.artifact.digest, again.created) == (model, False)


def test_what_starts_an_operation_starts_it_once(connection: Connection, stub: Any) -> None:
    request = verifier_pb2.TrainPbmRequest(request_id=str(uuid.uuid4()), steps=2, generator_steps=2, batch=2)
    first, second = twice(connection, stub.TrainPbm, request)
    assert first.operation.name == second.operation.name != ""
    connection.stop(operations_pb2.Operation(name=first.operation.name))
