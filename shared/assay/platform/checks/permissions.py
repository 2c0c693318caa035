"""Whether whoever asks may do what Helm will do for them."""

from __future__ import annotations

from collections.abc import Iterator

from assay.errors import NotFound
from assay.platform.finding import Finding, fail, ok, several, warn
from assay.platform.survey import Survey

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERBS = ("get", "create", "patch", "delete")


def permissions(survey: Survey) -> Iterator[Finding]:
    """Every rendered kind and Helm's own records in the namespace; reading nodes and pods of the whole cluster."""
    missing: list[str] = []
    asked = 0
    for version, kind in [*survey.rendered.kinds, ("v1", "Secret"), ("v1", "Pod")]:
        try:
            resource = survey.cluster.resource(version, kind)
        except NotFound:
            continue  # said by `definitions`
        asked += 1
        group = version.rpartition("/")[0]
        namespace = survey.target.namespace if resource["namespaced"] else ""
        verbs = ("get", "list") if kind == "Pod" else VERBS
        missing += [f"{verb} {resource['name']}" for verb in _denied(survey, group, resource["name"], namespace, verbs)]
    if survey.namespace is None:
        missing += [f"{verb} namespaces" for verb in _denied(survey, "", "namespaces", "", ("create",))]
    name = "permissions"
    if missing:
        remedy = f"ask for a Role in {survey.target.namespace} that allows them, or use another --context"
        yield fail(name, f"may not {several(list(dict.fromkeys(missing)), 6)}", remedy)
    else:
        yield ok(name, f"{asked} kinds may be made, changed and deleted in {survey.target.namespace}")
    wide = [kind for kind in ("nodes", "pods") if list(_denied(survey, "", kind, "", ("list",)))]
    if wide:
        remedy = "ask someone who may, for room on the nodes cannot be told without"
        yield warn("permissions on the cluster", f"may not list {' or '.join(wide)} of all namespaces", remedy)


def _denied(survey: Survey, group: str, resource: str, namespace: str, verbs: tuple[str, ...]) -> Iterator[str]:
    if _allowed(survey, group, resource, namespace, "*"):
        return
    for verb in verbs:
        if not _allowed(survey, group, resource, namespace, verb):
            yield verb


def _allowed(survey: Survey, group: str, resource: str, namespace: str, verb: str) -> bool:
    attributes = {"group": group, "resource": resource, "namespace": namespace, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = survey.cluster.raw("POST", REVIEWS, body=review, repeat=True)
    return b'"allowed":true' in answer.replace(b" ", b"")
