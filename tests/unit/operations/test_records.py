"""The records of operations in a store."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.protobuf.wrappers_pb2 import StringValue

from assay.artifacts.objects import open_object_store
from assay.errors import AlreadyExists, DataLoss, InvalidInput, NotFound
from assay.operations.records import OperationRecords, Specification, StepRecord, id_of_name, operation_id


@pytest.fixture
def records(tmp_path: Path) -> OperationRecords:
    return OperationRecords(open_object_store((tmp_path / "store").as_uri()))


def specification(request: bytes = b"request", caller: str = "alice") -> Specification:
    return Specification(
        operation_id=operation_id(caller, "/S/M", "id"),
        service="probe",
        method="/S/M",
        caller=caller,
        request_id="id",
        create_unix_s=12.5,
        environment="",
        request=request,
    )


def reply(value: str) -> StepRecord:
    record = StepRecord("0" * 64, operations_pb2.Operation().response)
    record.reply.Pack(StringValue(value=value))
    return record


def test_an_id_tells_caller_method_and_request_apart() -> None:
    ids = {operation_id(*parts) for parts in [("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ("", "ab", "c")]}
    assert len(ids) == 4
    assert all(id_of_name(f"operations/{each}") == each for each in ids)
    for name in ("operations/", "operations/x", f"x/operations/{'0' * 32}", f"operations/{'0' * 32}/steps"):
        with pytest.raises(InvalidInput):
            id_of_name(name)


def test_the_first_specification_stays(records: OperationRecords) -> None:
    first = specification()
    assert records.create(first) == first
    again = Specification(**{**first.__dict__, "create_unix_s": 99.0})
    assert records.create(again).create_unix_s == 12.5
    with pytest.raises(AlreadyExists):
        records.create(specification(b"another"))
    assert list(records.open_ids("probe")) == [first.operation_id]


def test_the_first_commit_of_a_step_and_of_the_result_stays(records: OperationRecords) -> None:
    operation = records.create(specification()).operation_id
    assert records.commit_step(operation, "a/0", reply("first")) == reply("first")
    assert records.commit_step(operation, "a/0", reply("second")) == reply("first")
    for name in ("first", "second"):
        records.commit_result("probe", operation, operations_pb2.Operation(name=name, done=True), 20.0)
    found = records.result(operation)
    assert found is not None
    assert found[0].name == "first"
    assert list(records.open_ids("probe")) == []
    # A late starter with the same request does not open it again.
    records.create(specification())
    assert list(records.open_ids("probe")) == []


def test_a_deletion_that_is_cut_short_can_be_repeated(records: OperationRecords) -> None:
    operation = records.create(specification()).operation_id
    records.commit_step(operation, "a/0", reply("x"))
    records.commit_result("probe", operation, operations_pb2.Operation(done=True), 20.0)
    deleted = []
    delete = records.objects.delete

    def cut_short(key: str) -> None:
        if len(deleted) == 2:
            raise OSError("the power went out")
        deleted.append(key)
        delete(key)

    records.objects.delete = cut_short  # type: ignore[method-assign]
    with pytest.raises(OSError, match="power"):
        records.delete(operation)
    # The result went before the specification: nobody is given it for another request.
    assert [key.rpartition("/")[2] for key in deleted] == ["a.0", "result"]
    assert records.specification(operation) == specification()
    records.objects.delete = delete  # type: ignore[method-assign]
    records.delete(operation)
    with pytest.raises(NotFound):
        records.specification(operation)


def test_a_damaged_record_is_data_loss(records: OperationRecords) -> None:
    for number, data in enumerate((b"", b"no json\n", b"{}")):
        records.objects.put_if_absent(f"operations/{number:032x}/lease", data)
        with pytest.raises(DataLoss):
            records.lease_content(f"{number:032x}")
