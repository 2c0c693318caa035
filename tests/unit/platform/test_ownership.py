"""Names that no release may take."""

from __future__ import annotations

from typing import cast

import pytest

from assay.platform.api import Cluster
from assay.platform.helm import Target
from assay.platform.ownership import claim


@pytest.mark.parametrize(
    ("name", "state"),
    [("default", "foreign"), ("kube-system", "foreign"), ("default-team", "absent"), ("kubeflow", "absent")],
)
def test_kubernetes_own_are_default_and_what_begins_with_kube(name: str, state: str):
    nobody_asked = cast(Cluster, None)
    assert claim(nobody_asked, Target("r", name), None).state == state
