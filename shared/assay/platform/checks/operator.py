"""KubeRay's operator: without it no engine ever starts."""

from __future__ import annotations

from collections.abc import Iterator

from assay.platform.checks.server import as_numbers
from assay.platform.finding import Finding, fail, ok, warn
from assay.platform.survey import Survey

NAME = "KubeRay operator"
SELECTOR = "app.kubernetes.io/name=kuberay-operator"
LEAST = (1, 6)


def operator(survey: Survey) -> Iterator[Finding]:
    if not survey.rendered.of_kind("RayService"):
        return
    found = list(survey.cluster.list("/apis/apps/v1/deployments", labelSelector=SELECTOR))
    if not found:
        # Managed ones, such as GKE's add-on, run where nobody sees them.
        yield warn(
            NAME,
            "no Deployment of it is to be seen",
            "install KubeRay's operator (infra/addons), unless a managed one runs",
        )
        return
    deployment = found[0]
    where = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    version = image.partition("@")[0].rpartition(":")[2]
    if not deployment.get("status", {}).get("availableReplicas"):
        yield fail(
            NAME,
            f"{where} has no pod that is available",
            f"kubectl -n {where.partition('/')[0]} get pods; mend it first",
        )
    elif (numbers := as_numbers(version)) and numbers < LEAST:
        yield fail(NAME, f"{where} is {version}", "upgrade it to 1.6 or newer, its CRDs first")
    elif found[1:]:
        yield warn(NAME, f"{len(found)} of them run", "keep one, or give each namespaces of its own to watch")
    else:
        yield ok(NAME, f"{where}, {version}")
    yield from _admitted(survey, deployment["metadata"]["namespace"])


def _admitted(survey: Survey, namespace: str) -> Iterator[Finding]:
    """Policies of the release must let the operator in from where it is."""
    policies = [p for p in survey.rendered.of_kind("NetworkPolicy") if p["metadata"]["name"].endswith("-engine")]
    named = {
        peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
        for policy in policies
        for rule in policy["spec"].get("ingress", [])
        for peer in rule.get("from", [])
    } - {None}
    if policies and namespace not in named:
        yield fail(
            NAME,
            f"runs in {namespace}, and the network policies admit it from {', '.join(sorted(map(str, named)))}",
            f"set networkPolicy.operatorNamespace={namespace}",
        )
