"""Everything that can be known before installing: each check on its own, so that one failure hides no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from assay.errors import AssayError, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, Unavailable
from assay.platform.api import Cluster, Object
from assay.platform.checks import capacity, crds, namespace, needed, operator, permissions, server, store
from assay.platform.checks.server import as_numbers
from assay.platform.finding import Finding, fail, ok, warn
from assay.platform.helm import Helm, Target, Values
from assay.platform.survey import Survey
from assay.platform.workloads import Rendered

# The newest Kubernetes that the tests ran on; the oldest is the chart's to say.
TESTED = "1.37"
# The first with --labels and --reset-then-reuse-values.
LEAST_HELM = (3, 14)

Check = Callable[[Survey], Iterator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("Kubernetes", server.version),
    ("namespace", namespace.ownership),
    ("permissions", permissions.permissions),
    ("CRDs", crds.crds),
    ("KubeRay operator", operator.operator),
    ("nodes", capacity.nodes),
    ("room", capacity.room),
    ("GPU memory", capacity.gpu_memory),
    ("metrics", capacity.autoscaling),
    ("storage", needed.storage),
    ("secrets", needed.secrets),
    ("issuer", needed.issuer),
    ("store", store.store),
    ("pods' admission", namespace.admission),
    ("quotas", namespace.quotas),
    ("API server", server.speed),
)


@dataclass(frozen=True)
class Plan:
    """What is to be installed where."""

    target: Target
    chart: Path
    values: Values
    gpu_memory: int = 0


def preflight(plan: Plan, cluster: Cluster) -> list[Finding]:
    """Raises InvalidInput where the values render nothing, FailedPrecondition where helm or the chart is missing."""
    helm = Helm(plan.target)
    least = least_version(plan.chart)
    try:
        _ = cluster.version
    except (Unavailable, FailedPrecondition, PermissionDenied, Unauthenticated) as error:
        return [fail("API server", error.message, "check --kubeconfig and --context, and the way to the server")]
    except AssayError as error:
        return [fail("API server", error.message, "try again once it answers in time")]
    rendered = Rendered(helm.template(plan.chart, _all_values(plan.values, helm), kubernetes=TESTED))
    survey = Survey(cluster, plan.target, rendered, least=least, tested=TESTED, gpu_memory=plan.gpu_memory)
    findings = [_helm(helm)]
    for title, check in CHECKS:
        findings += _guarded(title, check, survey)
    return findings


def _helm(helm: Helm) -> Finding:
    found = helm.version()
    if as_numbers(found) < LEAST_HELM:
        return fail("Helm", f"{found}, older than 3.14", "install Helm 3.14 or newer")
    if found.startswith("v3."):
        return ok("Helm", found)
    return warn("Helm", f"{found}, and only version 3 has been tried", "install Helm 3, or go on with care")


def _guarded(title: str, check: Check, survey: Survey) -> list[Finding]:
    """What was found before an error stays."""
    found: list[Finding] = []
    try:
        found.extend(check(survey))
    except PermissionDenied as error:
        found.append(warn(title, f"not checkable: {error.message}", "ask someone who may, or use another --context"))
    except AssayError as error:
        found.append(fail(title, error.message, "mend this first, then run preflight again"))
    except Exception as error:  # an object of a shape that nobody has thought of must not hide what others find
        remedy = "check it by hand, and report it as a defect"
        found.append(warn(title, f"not checkable: an object is odd ({type(error).__name__}: {error})", remedy))
    return found


def _all_values(values: Values, helm: Helm) -> Values:
    """What an upgrade would go by: without files the release's, where there is one, and single values over them."""
    if values.complete:
        return values
    try:
        found: Object = helm.values()
    except (NotFound, FailedPrecondition):
        return values
    return replace(values, document=json.dumps(found) if found else "")


def least_version(chart: Path) -> str:
    """The oldest Kubernetes that the chart takes, e.g. 1.34, of its kubeVersion."""
    import yaml

    if not chart.is_dir():
        return "1.34"
    wanted = str(yaml.safe_load((chart / "Chart.yaml").read_text()).get("kubeVersion", ""))
    found = re.search(r"(\d+\.\d+)", wanted)
    return found[1] if found else "1.34"
