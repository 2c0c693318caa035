"""Strict validation against the schemas that a Kubernetes of each version, KubeRay's operator and add-ons publish."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml
from jsonschema import Draft202012Validator

from charts.custom_resources import GROUPS, CustomResources
from charts.rendering import KUBERNETES, REPOSITORY, Object

# It would read a version's definitions, some megabytes, anew for every object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

# Objects without a closed schema, by the path at which anything goes. What the patch says, test_mesh.py holds.
OPEN = {"EnvoyFilter": ["spec.configPatches.0.patch.value"]}


class Schemas:
    """Finds what is wrong with an object; looks at equal objects once."""

    def __init__(self, custom_resources: CustomResources) -> None:
        self._known: dict[str, list[str]] = {}
        self._custom_resources = custom_resources

    def faults(self, found: Object) -> list[str]:
        """In words; unknown fields are faults."""
        key = json.dumps(found, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._faults(found)
        return self._known[key]

    def _faults(self, found: Object) -> list[str]:
        if found["apiVersion"].split("/")[0] not in GROUPS:
            return _faults(found)
        answer = self._custom_resources.ask(found)
        unchecked = [
            f"{path}: any field would pass" for path in answer["open"] if path not in OPEN.get(found["kind"], [])
        ]
        return answer["faults"] + unchecked


def _faults(found: Object) -> list[str]:
    version = found["apiVersion"]
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
