"""Strict validation against the schemas that a Kubernetes of each version, and KubeRay's operator, publish."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from charts.rendering import KUBERNETES, REPOSITORY, Object

# Their CRDs are not at hand; what is checked of them stands in test_promises.py.
UNCHECKED = {
    "cert-manager.io/v1",
    "gateway.networking.k8s.io/v1",
    "monitoring.coreos.com/v1",
    "networking.istio.io/v1",
    "networking.istio.io/v1alpha3",
    "security.istio.io/v1",
}


class Schemas:
    """Finds what is wrong with an object; looks at equal objects once."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}

    def faults(self, found: Object) -> list[str]:
        """In words; unknown fields are faults."""
        key = json.dumps(found, sort_keys=True)
        if key not in self._known:
            self._known[key] = _faults(found)
        return self._known[key]


def _faults(found: Object) -> list[str]:
    version = found["apiVersion"]
    if version in UNCHECKED:
        return []
    if version == "ray.io/v1":
        return [_shown(error) for error in _ray_service().iter_errors(found)]
    faults = []
    for kubernetes in KUBERNETES:
        try:
            kubernetes_validate.validate(found, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as error:
            faults.append(f"Kubernetes {kubernetes}: {_shown(error)}")
        except kubernetes_validate.SchemaNotFoundError as error:
            faults.append(f"Kubernetes {kubernetes}: {error.message}")
    return faults


def _shown(error: Any) -> str:
    return f"{'.'.join(map(str, error.path))}: {error.message}"


@functools.cache
def _ray_service() -> Draft202012Validator:
    tools = Path(os.environ.get("ASSAY_TOOLS", REPOSITORY / "../shared/tools"))
    file = tools / "kuberay/ray.io_rayservices.yaml"
    if not file.is_file():
        pytest.skip("needs KubeRay's CRDs: put kuberay/ray.io_rayservices.yaml in the folder that ASSAY_TOOLS names")
    definition = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    served = next(version for version in definition["spec"]["versions"] if version["name"] == "v1")
    return Draft202012Validator(_strict(served["schema"]["openAPIV3Schema"], top=True))


def _strict(schema: Any, *, top: bool = False) -> Any:
    """The same schema, in which no field is allowed that it does not name."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {name: _strict(value) for name, value in schema.items()}
    if "properties" in schema:
        found["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        loose = top or schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not loose:
            found["additionalProperties"] = False
    return found
