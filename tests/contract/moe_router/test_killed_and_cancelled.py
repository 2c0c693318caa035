"""Work that is killed goes on, work that is cancelled stops, and the active plan is never half of one."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from probe.service_process import ServiceProcess
from probe.serving import wait_until

from assay.artifacts.store import ArtifactStore
from assay.client.connection import Connection, connect
from assay.config import Config
from assay.errors import Cancelled
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import moe_router_pb2_grpc

TWENTY_TIMES = pytest.param(20, id="20 times", marks=[pytest.mark.slow, pytest.mark.timeout(1500)])
APPLY_STEPS = 4  # claim, build, verify, activate


def stub(connection: Connection) -> Any:
    return moe_router_pb2_grpc.MoeRouterServiceStub(connection.channel)


def text_of(trained: Any, sequences: int, batch: int = 8) -> api.TextSelection:
    return api.TextSelection(text=trained.text, sequences=sequences, sequence_tokens=64, batch_sequences=batch)


def done(connection: Connection, name: str) -> operations_pb2.Operation:
    operations = operations_pb2_grpc.OperationsStub(connection.channel)
    found: operations_pb2.Operation = connection.call(
        operations.GetOperation, operations_pb2.GetOperationRequest(name=name)
    )
    return found


def steps_done(trained: Any, operation: operations_pb2.Operation) -> int:
    return sum(1 for _ in trained.artifacts.objects.list(f"{operation.name}/steps/"))


def killed_once(
    trained: Any, start: Callable[[Connection], operations_pb2.Operation], after_steps: int, pause_s: float
) -> tuple[operations_pb2.Operation, int]:
    """Starts the operation and kills its front `pause_s` after so many of its steps are committed.

    Returns it unfinished, and how many steps were committed when its front was dead.
    """
    front = ServiceProcess("moe_router", trained.store)
    with connect("moe_router", front.address) as connection:
        operation = start(connection)
        wait_until(lambda: steps_done(trained, operation) >= after_steps, 60)
        time.sleep(pause_s)
        front.kill()
    return operation, steps_done(trained, operation)


def ended_by_another(trained: Any, operation: operations_pb2.Operation) -> operations_pb2.Operation:
    successor = ServiceProcess("moe_router", trained.store)
    try:
        with connect("moe_router", successor.address) as connection:
            return connection.wait(operation)
    finally:
        successor.stop()


@pytest.mark.parametrize("times", [pytest.param(2, id="twice"), TWENTY_TIMES])
def test_a_calibration_that_is_killed_ends_in_the_same_artifact(trained: Any, times: int) -> None:
    points = random.Random(7)

    def start(connection: Connection) -> operations_pb2.Operation:
        request = api.CalibrateRequest(request_id=str(uuid.uuid4()), model=trained.model, text=text_of(trained, 768))
        return connection.call(stub(connection).Calibrate, request).operation

    with connect("moe_router", config=Config(store=trained.store)) as connection:
        begun = start(connection)
        undisturbed = connection.wait(begun).response.value
    every, survived = steps_done(trained, begun), []
    for turn in range(times):
        operation, before = killed_once(trained, start, turn % every, points.uniform(0.0, 0.6))
        survived.append(before)
        assert ended_by_another(trained, operation).response.value == undisturbed
    # Kills that all came before the first step was committed, or after the last, would prove nothing.
    assert any(0 < before < every for before in survived), survived


@pytest.mark.parametrize("times", [pytest.param(3, id="3 times", marks=pytest.mark.slow), TWENTY_TIMES])
def test_an_application_that_is_killed_leaves_the_old_plan_or_the_new_one(trained: Any, times: int) -> None:
    points = random.Random(11)
    with connect("moe_router", config=Config(store=trained.store)) as connection:
        statistics = connection.run(
            stub(connection).Calibrate,
            api.CalibrateRequest(request_id=str(uuid.uuid4()), model=trained.model, text=text_of(trained, 32)),
            api.CalibrateResult,
        )
        importance = connection.run(
            stub(connection).ScoreImportance,
            api.ScoreImportanceRequest(
                request_id=str(uuid.uuid4()),
                model=trained.model,
                text=text_of(trained, 32),
                metric=api.IMPORTANCE_METRIC_FREQUENCY,
            ),
            api.ScoreImportanceResult,
        )
        plans = [
            connection.call(
                stub(connection).PlanReplicateQuantize,
                api.PlanReplicateQuantizeRequest(
                    statistics=statistics.statistics, importance=importance.importance, policy=policy
                ),
            ).plan
            for policy in (api.PLAN_POLICY_PAPER, api.PLAN_POLICY_TARGET_LIS)
        ]
    survived = []
    for turn in range(times):
        plan, old = plans[turn % 2], standing(trained.artifacts, trained.model)

        def start(connection: Connection, plan: str = plan) -> operations_pb2.Operation:
            request = api.ApplyPlanRequest(request_id=str(uuid.uuid4()), plan=plan)
            return connection.call(stub(connection).ApplyPlan, request).operation

        operation, before = killed_once(trained, start, turn % APPLY_STEPS, points.uniform(0.0, 0.4))
        survived.append(before)
        # Read from the store, as nobody serves now: one plan or the other, every byte of it there and verified.
        after_kill = standing(trained.artifacts, trained.model)
        assert after_kill in (old, (plan, old[1] + 1), (plan, old[1]))
        ended = ended_by_another(trained, operation)
        assert ended.WhichOneof("result") == "response", ended.error
        assert standing(trained.artifacts, trained.model)[0] == plan
    assert any(0 < before < APPLY_STEPS for before in survived), survived


def standing(artifacts: ArtifactStore, model: str) -> tuple[str, int]:
    """The active plan and its epoch, after its balanced model was read whole and its hashes verified."""
    from assay_moe_router import active_plan

    now = active_plan.standing(artifacts, model).activation
    if now.balanced_model:
        for file in artifacts.manifest(now.balanced_model).files:
            artifacts.read(now.balanced_model, file.path)
        assert artifacts.manifest(now.balanced_model).parameters["plan"] == now.plan
    return now.plan, now.epoch


def test_a_cancelled_calibration_stops_working_within_a_second(trained: Any) -> None:
    front = ServiceProcess("moe_router", trained.store)
    try:
        with connect("moe_router", front.address) as connection:
            request = api.CalibrateRequest(
                request_id=str(uuid.uuid4()), model=trained.model, text=text_of(trained, 4096, batch=1)
            )
            operation = connection.call(stub(connection).Calibrate, request).operation
            # A quarter of a second of computing: it is at work. One sequence at a time, the whole takes most of a
            # minute.
            begun = front.cpu_seconds()
            wait_until(lambda: front.cpu_seconds() > begun + 0.25)
            time.sleep(2.0)
            before = front.cpu_seconds()
            time.sleep(0.5)
            assert front.cpu_seconds() - before > 0.1
            connection.cancel(operation)
            time.sleep(1.0)
            stopped = front.cpu_seconds()
            time.sleep(1.5)
            # An idle front polls its store a little; a working one uses the better part of a core.
            assert front.cpu_seconds() - stopped < 0.2
            ended = connection.wait(operation)
            with pytest.raises(Cancelled):
                connection.result(ended, api.CalibrateResult)
            assert done(connection, operation.name).done
    finally:
        front.stop()
