"""The API server: what it is, and whether it keeps up."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.platform.finding import Finding, fail, ok, warn
from assay.platform.survey import Survey

SLOW_S = 2.0


def as_numbers(version: str) -> tuple[int, ...]:
    """(1, 37) of "v1.37.2+k3s1"; empty where the text names no version."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else ()


def version(survey: Survey) -> Iterator[Finding]:
    name = "Kubernetes"
    found = str(survey.cluster.version["gitVersion"])
    if as_numbers(found) < as_numbers(survey.least):
        yield fail(name, f"{found}, older than {survey.least}", f"upgrade the cluster to {survey.least} or newer")
    elif as_numbers(found) > as_numbers(survey.tested):
        remedy = f"go on, with care: nothing newer than {survey.tested} has been tried"
        yield warn(name, f"{found}, newer than {survey.tested}", remedy)
    else:
        yield ok(name, f"{found} at {survey.cluster.address}")


def speed(survey: Survey) -> Iterator[Finding]:
    """Run last: of all that was asked."""
    slowest_s = survey.cluster.slowest_s
    if slowest_s > SLOW_S:
        remedy = "look at the control plane's load; give --timeout more room"
        yield warn("API server", f"took up to {slowest_s:.1f} s for an answer", remedy)
    else:
        yield ok("API server", f"answers within {slowest_s * 1e3:.0f} ms")
