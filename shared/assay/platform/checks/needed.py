"""What must be there before: secrets, an issuer of certificates, a storage class."""

from __future__ import annotations

from collections.abc import Iterator

from assay.errors import NotFound, PermissionDenied
from assay.platform.api import Object
from assay.platform.finding import Finding, fail, ok, several, warn
from assay.platform.survey import Survey

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def secrets(survey: Survey) -> Iterator[Finding]:
    """Their names and keys; no value is looked at."""
    where = survey.target.namespace
    for use in survey.rendered.secrets():
        name = f"secret {use.name}"
        literals = " ".join(f"--from-literal={key}=..." for key in sorted(use.keys))
        make = f"kubectl -n {where} create secret generic {use.name} {literals}".rstrip()
        try:
            found = survey.cluster.find(f"/api/v1/namespaces/{where}/secrets/{use.name}")
        except PermissionDenied:
            yield warn(
                name, "may not be read, so nobody can say from here", f"make sure that it has {sorted(use.keys)}"
            )
            continue
        if found is None:
            yield fail(name, f"is not there; {several(use.users, 3)} read it", make)
            continue
        lacking = sorted(use.keys - set(found.get("data") or {}))
        if lacking:
            yield fail(name, f"has no key {', '.join(lacking)}; {several(use.users, 3)} read it", f"add it: {make}")
        else:
            yield ok(name, f"has {', '.join(sorted(use.keys)) or 'what is asked'}")


def issuer(survey: Survey) -> Iterator[Finding]:
    """cert-manager's, of each certificate."""
    wanted = {
        (reference["kind"], reference["name"])
        for certificate in survey.rendered.of_kind("Certificate")
        for reference in [certificate["spec"]["issuerRef"]]
    }
    for kind, called in sorted(wanted):
        name = f"issuer {called}"
        try:
            path = survey.cluster.path_of("cert-manager.io/v1", kind, survey.target.namespace, called)
        except NotFound:
            continue  # said by `crds`
        found = survey.cluster.find(path)
        if found is None:
            yield fail(
                name, f"there is no {kind} of that name", "make it, or name another with mtls.issuer.name and .kind"
            )
            continue
        conditions = found.get("status", {}).get("conditions", [])
        ready: Object = next((each for each in conditions if each["type"] == "Ready"), {})
        if ready.get("status") == "True":
            yield ok(name, f"{kind} is ready")
        else:
            said = ready.get("message", "it has not said so")
            yield fail(name, f"{kind} is not ready: {said}", "mend it: its certificates would never come")


def storage(survey: Survey) -> Iterator[Finding]:
    """Of every volume that the release asks for."""
    for kept in survey.rendered.of_kind("StatefulSet"):
        for volume in kept["spec"].get("volumeClaimTemplates", []):
            name = f"storage of {kept['metadata']['name']}"
            classes = {found["metadata"]["name"]: found for found in survey.storage_classes}
            wanted = volume["spec"].get("storageClassName")
            there = f"there are {several(sorted(classes))}" if classes else "there are none"
            remedy = 'set minio.storageClass to one that is there, or to "-" for a trial that keeps nothing'
            default = [
                called
                for called, found in classes.items()
                if found["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"
            ]
            if wanted and wanted not in classes:
                yield fail(name, f"there is no storage class {wanted}; {there}", remedy)
            elif not wanted and not default:
                yield fail(name, f"no storage class is the default; {there}", remedy)
            else:
                yield ok(name, f"class {wanted or default[0]}")
