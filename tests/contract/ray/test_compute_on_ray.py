"""Data-parallel work keeps one set of promises on local processes and on Ray tasks."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from probe import steps
from probe.compute_cases import CASES

from assay.compute import LocalCompute
from assay.engine.engine import StepCall


@pytest.mark.parametrize("case", CASES)
def test_local_processes(tmp_path, case) -> None:
    CASES[case](LocalCompute(2), tmp_path)


@pytest.mark.ray
@pytest.mark.parametrize("case", CASES)
async def test_ray_tasks(ray_cluster, tmp_path, case) -> None:
    """Asked for inside a Serve replica, as steps do."""
    engine = ray_cluster.engine()
    try:
        said = await engine.run(steps.COMPUTE_CASE, StringValue(value=f"{case}|{tmp_path}"), StepCall())
    finally:
        await engine.close()
    assert said.value == ""
