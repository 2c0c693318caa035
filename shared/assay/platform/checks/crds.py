"""Custom resources that the rendered objects are of: served, and with every field that is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assay.errors import NotFound
from assay.platform.finding import Finding, fail, ok, several
from assay.platform.survey import Survey

# Group: who brings its CRDs, and what asks for them.
SOURCES = {
    "ray.io": ("KubeRay's operator, 1.6 or newer (infra/addons)", "engine.placement: in-process"),
    "cert-manager.io": ("cert-manager", "mtls.existingSecret"),
    "networking.istio.io": ("Istio", "transport: mtls"),
    "security.istio.io": ("Istio", "transport: mtls"),
    "monitoring.coreos.com": ("the Prometheus operator", "monitoring.* false"),
    "gateway.networking.k8s.io": ("the Gateway API's CRDs", "gateway.enabled: false"),
}


def crds(survey: Survey) -> Iterator[Finding]:
    for version, kind in survey.rendered.kinds:
        group = version.partition("/")[0]
        if group not in SOURCES:
            continue
        name = f"CRD {kind}"
        brings, instead = SOURCES[group]
        try:
            plural = survey.cluster.resource(version, kind)["name"]
        except NotFound:
            yield fail(name, f"{version} is not served", f"install {brings}, or set {instead}")
            continue
        schema = _schema(survey, f"{plural}.{group}", version.partition("/")[2])
        objects = [found for found in survey.rendered.of_kind(kind) if found["apiVersion"] == version]
        missing = sorted({path for found in objects for path in unknown_fields(found, schema)})
        if missing:
            paths = several(missing, 3)
            yield fail(name, f"{version} is served without the fields {paths}: an older one", f"install {brings}")
        else:
            yield ok(name, f"{version}, with all fields that are set")


def _schema(survey: Survey, name: str, version: str) -> Mapping[str, Any]:
    found = survey.cluster.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    served = next(each for each in found["spec"]["versions"] if each["name"] == version)
    return dict(served.get("schema", {}).get("openAPIV3Schema", {}))


def unknown_fields(found: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of what the API server would drop without a word."""
    if isinstance(found, list):
        for item in found:
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[]")
    elif isinstance(found, dict) and "properties" in schema:
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return
        for key, value in found.items():
            if not path and key in ("apiVersion", "kind", "metadata"):
                continue
            known = schema["properties"].get(key)
            here = f"{path}.{key}".lstrip(".")
            if known is None:
                yield here
            else:
                yield from unknown_fields(value, known, here)
