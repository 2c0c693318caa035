"""Whether whoever asks may do what Helm will do for them."""

from __future__ import annotations

from collections.abc import Iterator

from assay.errors import NotFound
from assay.platform.api import Object
from assay.platform.finding import Finding, fail, ok, several, warn
from assay.platform.ownership import LABEL, TENANTS
from assay.platform.survey import Survey

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERBS = ("get", "create", "patch", "delete")
# Helm keeps its records in Secrets: looks for them, and changes them as a whole.
RECORDS = ("list", "update")
LOOKS = (("pods", "log", ("get",)), ("pods", "portforward", ("get", "create")))


def permissions(survey: Survey) -> Iterator[Finding]:
    """Every rendered kind, Helm's own records and the namespace; what commands look at; nodes and pods of all."""
    missing: list[str] = []
    asked = 0
    where = survey.target.namespace
    for version, kind in dict.fromkeys([*survey.rendered.kinds, ("v1", "Secret"), ("v1", "Pod")]):
        try:
            resource = survey.cluster.resource(version, kind)
        except NotFound:
            continue  # said by `crds`
        asked += 1
        group = version.rpartition("/")[0]
        namespace = where if resource["namespaced"] else ""
        verbs = ("get", "list") if kind == "Pod" else VERBS + (RECORDS if kind == "Secret" else ())
        missing += [f"{verb} {resource['name']}" for verb in _denied(survey, group, resource["name"], namespace, verbs)]
    if survey.namespace is None:
        missing += [f"{verb} namespaces" for verb in _denied(survey, "", "namespaces", "", ("create",))]
    elif LABEL not in survey.namespace["metadata"].get("labels", {}):
        # To say that it is empty, and to label it.
        for version, kind in TENANTS:
            group, plural = version.rpartition("/")[0], survey.cluster.resource(version, kind)["name"]
            missing += [f"{verb} {plural}" for verb in _denied(survey, group, plural, where, ("list",))]
        denied = _denied(survey, "", "namespaces", where, ("patch",), name=where)
        missing += [f"{verb} the namespace, which gets a label" for verb in denied]
    name = "permissions"
    if missing:
        remedy = f"ask for a Role in {where} that allows them, or use another --context"
        yield fail(name, f"may not {several(missing, 6)}", remedy)
    else:
        yield ok(name, f"{asked} kinds may be made, changed and deleted in {where}")
    looks = [
        f"{verb} {resource}/{part}"
        for resource, part, verbs in LOOKS
        for verb in _denied(survey, "", resource, where, verbs, part=part)
    ]
    if looks:
        remedy = "ask for a Role that allows them; without, status, smoke and bundle leave out what they cannot see"
        yield warn("permissions to look", f"may not {several(looks)}", remedy)
    wide = [kind for kind in ("nodes", "pods") if list(_denied(survey, "", kind, "", ("list",)))]
    if wide:
        remedy = "ask someone who may, for room on the nodes cannot be told without"
        yield warn("permissions on the cluster", f"may not list {' or '.join(wide)} of all namespaces", remedy)


def _denied(
    survey: Survey, group: str, resource: str, namespace: str, verbs: tuple[str, ...], *, part: str = "", name: str = ""
) -> Iterator[str]:
    asked = {"group": group, "resource": resource, "subresource": part, "namespace": namespace, "name": name}
    if _allowed(survey, asked | {"verb": "*"}):
        return
    for verb in verbs:
        if not _allowed(survey, asked | {"verb": verb}):
            yield verb


def _allowed(survey: Survey, attributes: Object) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = survey.cluster.raw("POST", REVIEWS, body=review, repeat=True)
    return b'"allowed":true' in answer.replace(b" ", b"")
