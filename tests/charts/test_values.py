"""Values that are wrong are refused in words that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charts.rendering import Combination, run_helm

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a transport that is none": (
        {"transport": "tls"},
        "'/transport': value must be one of 'plaintext', 'mtls', 'mesh'",
    ),
    "a misspelt value": (
        {"defaults__engine__placment": "rayservice"},
        "'/defaults/engine': additional properties 'placment'",
    ),
    "a misspelt value of a service": ({"services__moe_router__frnt": {}}, "additional properties 'frnt' not allowed"),
    "an unknown value": ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    "no replicas": ({"defaults__front__replicas": 0}, "'/defaults/front/replicas': minimum: got 0, want 1"),
    "half a GPU": (
        {"defaults__engine__resources__gpus": 0.5},
        "'/defaults/engine/resources/gpus': got number, want integer",
    ),
    "a size without unit": (
        {"defaults__engine__sharedMemory": "lots"},
        "'/defaults/engine/sharedMemory': 'lots' does not match",
    ),
    "memory in words": ({"defaults__engine__resources__memory": "16 GB"}, "'/defaults/engine/resources/memory'"),
    "an upgrade that is none": (
        {"defaults__engine__upgrade__strategy": "Rolling"},
        "value must be one of 'NewCluster', 'None'",
    ),
    "a store of files": ({"store__url": "file:///data"}, "'/store/url': 'file:///data' does not match"),
    "a bucket that S3 refuses": ({"minio__bucket": "My_Bucket"}, "'/minio/bucket': 'My_Bucket' does not match"),
    "a registry with a slash at its end": ({"image__registry": "a.example.org/"}, "'/image/registry'"),
    "an allow list of a string": (
        {"defaults__front__allow": {"*": "me"}},
        "'/defaults/front/allow/*': got string, want array",
    ),
    "an allow list of no method": ({"defaults__front__allow": {"moe": ["me"]}}, "'/defaults/front/allow'"),
    "a caller with a scheme": ({"transport": "mesh", "mesh__callers": ["spiffe://a/ns/b/sa/c"]}, "'/mesh/callers/0'"),
    "a log level that is none": ({"telemetry__logLevel": "LOUD"}, "'/telemetry/logLevel'"),
    "a collector without a port": ({"telemetry__otlpEndpoint": "http://collector"}, "'/telemetry/otlpEndpoint'"),
    "a service with a hyphen": ({"services": {"moe-router": {}}}, "'/services'"),
    "a service that is no map": ({"services__moe_router": 3}, "'/services/moe_router'"),
    "no store": ({"minio__enabled": False}, "store: there is none; set store.url"),
    "two stores": ({"store__url": "s3://other"}, "store.url and minio.enabled: there is one store"),
    "MinIO without an image": ({"minio__image": ""}, "minio.image: is not set"),
    "mtls without certificates": ({"transport": "mtls"}, "mtls: needs certificates"),
    "callers without a mesh": ({"mesh__callers": ["d/ns/a/sa/b"]}, "mesh.callers: are for transport mesh"),
    "Redis without an address": ({"gcsFaultTolerance__enabled": True}, "gcsFaultTolerance: needs redisAddress"),
    "routes without a gateway": ({"gateway__enabled": True}, "gateway.parent.name: is not set"),
    "a pool that is none": ({"defaults__engine__pool": "tpu"}, "tpu is none of pools; name one of gpu"),
    "least over most": ({"defaults__engine__replicas": {"min": 5, "max": 2}}, "min 5 is over max 2"),
    "a service nobody knows": ({"services__other": {}}, "services.other.grpcService: is not set"),
}


@pytest.mark.parametrize(("sets", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_named(helm: Path, sets: dict[str, Any], message: str) -> None:
    ran = run_helm(helm, Combination.of("wrong", **sets))
    assert ran.returncode != 0
    assert message in ran.stderr
