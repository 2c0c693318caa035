"""Long methods that are killed go on: what was measured is not measured again, and the result is the same."""

from __future__ import annotations

from typing import Any

import pytest
from contract.inference_optimizer.asking import CHOOSING, SPARSE
from contract.inference_optimizer.conftest import new_id
from google.longrunning import operations_pb2
from probe.service_process import ServiceProcess
from probe.serving import wait_until

from assay.client.connection import Connection, connect
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay_inference_optimizer import exit_steps, selection_steps


def start_both(connection: Connection, trained: Any) -> list[operations_pb2.Operation]:
    """A plan and a comparison: 17 settings and more, 6 ways to choose blocks."""
    stub = inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)
    text = api.TextSelection(text=trained.text, sequences=16, sequence_tokens=256)
    plan = api.PlanSparsityRequest(
        request_id=new_id(), model=trained.model, text=text, sparse=SPARSE, max_loss_increase_nats=0.05
    )
    comparison = api.CompareSelectionRequest(request_id=new_id(), model=trained.model, text=text, sparse=SPARSE)
    return [
        connection.call(stub.PlanSparsity, plan).operation,
        connection.call(stub.CompareSelection, comparison).operation,
    ]


def measured(trained: Any, operation: operations_pb2.Operation) -> int:
    """Settings whose losses are committed."""
    return sum("/measure" in info.key for info in trained.artifacts.objects.list(f"{operation.name}/steps/"))


def test_what_was_measured_before_a_kill_is_not_measured_again(
    connection: Connection, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    measure = selection_steps.sequence_losses

    def counted(*arguments: Any, **named: Any) -> Any:
        looks.append(None)
        return measure(*arguments, **named)

    monkeypatch.setattr(selection_steps, "sequence_losses", counted)
    undisturbed = start_both(connection, trained)
    results = [connection.wait(operation).response.value for operation in undisturbed]
    every = [measured(trained, operation) for operation in undisturbed]
    assert every[0] >= 17
    assert every[1] == 6
    assert len(looks) == sum(every)

    front = ServiceProcess("inference_optimizer", trained.store)
    with connect("inference_optimizer", front.address) as doomed:
        operations = start_both(doomed, trained)
        wait_until(lambda: all(measured(trained, operation) for operation in operations), 60)
        front.kill()
    before = [measured(trained, operation) for operation in operations]
    assert all(0 < done < whole for done, whole in zip(before, every, strict=True)), before
    looks.clear()
    # The front in this process takes them up once the dead one is taken for dead.
    assert [connection.wait(operation).response.value for operation in operations] == results
    assert len(looks) == sum(every) - sum(before)


def start_exits(connection: Connection, trained: Any) -> list[operations_pb2.Operation]:
    """A profile and, under sparse attention, a calibration: of 160 windows, 16 a step."""
    stub = inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)
    text = api.TextSelection(text=trained.text, split="train", sequences=160, sequence_tokens=96)
    profile = api.ProfileEarlyExitRequest(request_id=new_id(), model=trained.model, text=text)
    calibration = api.CalibrateEarlyExitRequest(
        request_id=new_id(), model=trained.model, text=text, epsilon=0.3, skip_tokens=88, sparse=CHOOSING
    )
    return [
        connection.call(stub.ProfileEarlyExit, profile).operation,
        connection.call(stub.CalibrateEarlyExit, calibration).operation,
    ]


def counted(trained: Any, operation: operations_pb2.Operation) -> int:
    """Steps whose counts are committed."""
    return sum("/count" in info.key for info in trained.artifacts.objects.list(f"{operation.name}/steps/"))


@pytest.mark.slow
def test_what_was_counted_before_a_kill_is_not_counted_again(
    connection: Connection, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    profile = exit_steps.profile

    def watched(*arguments: Any, **named: Any) -> Any:
        looks.append(None)
        return profile(*arguments, **named)

    monkeypatch.setattr(exit_steps, "profile", watched)
    undisturbed = start_exits(connection, trained)
    results = [connection.wait(operation).response.value for operation in undisturbed]
    assert [counted(trained, operation) for operation in undisturbed] == [10, 10]
    assert len(looks) == 20

    front = ServiceProcess("inference_optimizer", trained.store)
    with connect("inference_optimizer", front.address) as doomed:
        operations = start_exits(doomed, trained)
        wait_until(lambda: all(counted(trained, operation) for operation in operations), 60)
        front.kill()
    before = [counted(trained, operation) for operation in operations]
    assert all(0 < done < 10 for done in before), before
    looks.clear()
    # The front in this process takes them up once the dead one is taken for dead.
    assert [connection.wait(operation).response.value for operation in operations] == results
    assert len(looks) == 20 - sum(before)
