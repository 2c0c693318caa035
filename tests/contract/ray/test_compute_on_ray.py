"""Data-parallel work on Ray tasks, asked for inside a Serve replica, keeps the promises of local processes."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from probe import steps
from probe.compute_cases import CASES

from assay.engine.engine import StepCall

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("case", CASES)
async def test_ray_tasks(ray_cluster, tmp_path, case) -> None:
    engine = ray_cluster.engine()
    try:
        said = await engine.run(steps.COMPUTE_CASE, StringValue(value=f"{case}|{tmp_path}"), StepCall())
    finally:
        await engine.close()
    assert said.value == ""
