"""The namespace: whose it is, and whether it lets the release's pods in."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from assay.errors import AssayError, InvalidInput, PermissionDenied
from assay.platform.api import Object
from assay.platform.finding import Finding, fail, ok, warn
from assay.platform.ownership import claim
from assay.platform.survey import Survey
from assay.platform.workloads import GPU, Resources, Workload, requests_of

LEVEL = "pod-security.kubernetes.io/enforce"


def ownership(survey: Survey) -> Iterator[Finding]:
    decided = claim(survey.cluster, survey.target, survey.namespace)
    name = survey.target.namespace
    said = {
        "absent": f"there is no {name} yet; installing makes it",
        "ours": f"{name} is this release's",
        "free": f"{name} is there and empty; installing labels it",
    }
    if decided.state == "foreign":
        yield fail("namespace", decided.why, decided.remedy)
    else:
        yield ok("namespace", said[decided.state])


def admission(survey: Survey) -> Iterator[Finding]:
    """Asks the server itself about one pod of each shape: pod security, limit ranges, quotas. Nothing is kept."""
    if survey.namespace is None:
        return
    name = "pods' admission"
    level = survey.namespace["metadata"].get("labels", {}).get(LEVEL, "none set")
    refused = False
    for workload in survey.rendered.workloads():
        try:
            survey.cluster.create(f"/api/v1/namespaces/{survey.target.namespace}/pods", _pod(workload), dry_run=True)
        except (PermissionDenied, InvalidInput) as error:
            if "cannot create resource" in error.message:
                yield warn(name, "may not make pods, so nobody can say from here", "ask someone who may")
                return
            refused = True
            yield fail(name, f"{workload.name}: {_reason(error)}", _remedy(error, level))
    if not refused:
        yield ok(name, f"every shape of pod is let in (pod security: {level})")


def _pod(workload: Workload) -> Object:
    # Accounts are made with the release; which one it is changes nothing about admission.
    spec = {key: value for key, value in workload.pod.items() if key != "serviceAccountName"}
    labels = workload.metadata.get("labels", {})
    meta = {"generateName": "preflight-", "labels": labels}
    # A Job's or KubeRay's template may leave it out; a pod's own default would do.
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _reason(error: AssayError) -> str:
    return error.message.partition("is forbidden: ")[2] or error.message


def _remedy(error: AssayError, level: str) -> str:
    if "PodSecurity" in error.message:
        return f"let the pods meet {level}, or label the namespace {LEVEL}=baseline"
    if "quota" in error.message:
        return "raise the ResourceQuota, or give the containers what it demands"
    if "per Container" in error.message or "per Pod" in error.message:
        return "raise the LimitRange, or lower the resources in the values"
    return "change the values, or what the message names"


def quotas(survey: Survey) -> Iterator[Finding]:
    """Room for the least that the release needs, beside what others use."""
    if survey.namespace is None:
        return
    path = f"/api/v1/namespaces/{survey.target.namespace}/resourcequotas"
    for quota in survey.cluster.list(path):
        name = f"quota {quota['metadata']['name']}"
        if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            yield warn(name, "has scopes, which are not looked into", "compare it with the values by hand")
            continue
        short = _short(survey, quota)
        if short:
            yield fail(name, "; ".join(short), "raise it, or lower replicas and resources in the values")
        else:
            yield ok(name, "leaves room for the least that is needed")


def _short(survey: Survey, quota: Object) -> list[str]:
    from kubernetes.utils.quantity import parse_quantity

    hard, used = quota["spec"].get("hard", {}), quota.get("status", {}).get("used", {})
    path = f"/api/v1/namespaces/{survey.target.namespace}/pods"
    ours = survey.cluster.list(path, labelSelector=f"app.kubernetes.io/instance={survey.target.release}")
    mine: Resources = {}
    for pod in ours:
        _add(mine, _charged(pod["spec"]), 1)
    needed: Resources = {}
    for workload in survey.rendered.lasting():
        _add(needed, _charged(workload.pod), workload.least)
    for claim_template in survey.rendered.of_kind("StatefulSet"):
        for volume in claim_template["spec"].get("volumeClaimTemplates", []):
            size = parse_quantity(volume["spec"]["resources"]["requests"]["storage"])
            _add(needed, {"requests.storage": size, "persistentvolumeclaims": Decimal(1)}, 1)
    short = []
    for resource, limit in hard.items():
        if resource not in needed:
            continue
        left = parse_quantity(limit) - parse_quantity(used.get(resource, "0")) + mine.get(resource, Decimal(0))
        if needed[resource] > left:
            short.append(f"{resource}: {_shown(needed[resource])} needed, {_shown(left)} left of {limit}")
    return short


def _charged(pod: Object) -> Resources:
    """What a pod costs of each quota."""
    requests, limits = requests_of(pod), requests_of(pod, "limits")
    found = {f"requests.{name}": amount for name, amount in requests.items()}
    found |= {f"limits.{name}": amount for name, amount in limits.items() if name != GPU}
    found |= {name: requests[name] for name in ("cpu", "memory") if name in requests}
    return found | {"pods": Decimal(1), "count/pods": Decimal(1)}


def _add(total: Resources, amounts: Resources, times: int) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, Decimal(0)) + amount * times


def _shown(amount: Decimal) -> str:
    return f"{amount / 2**30:.3g} Gi" if amount > 2**20 else f"{amount.normalize():f}"
