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
    "metrics that nobody may read": (
        {"monitoring__serviceMonitor": True},
        "networkPolicy.metricsNamespace: is empty, and monitoring.serviceMonitor wants fronts read; name Prometheus's",
    ),
    "a gateway before fronts that demand certificates": (
        {
            "gateway": {"enabled": True, "parent": {"name": "public"}},
            "transport": "mtls",
            "mtls__issuer__name": "ca",
        },
        "gateway.enabled: with transport mtls fronts demand a caller's certificate, which a Gateway does not show",
    ),
    "no service at all": (
        {"defaults__enabled": False},
        "services: none is enabled; set services.SERVICE.enabled",
    ),
    "the same without a MinIO": (
        {"defaults__enabled": False, "minio": {}, "store": {"url": "s3://bucket", "existingSecret": "s3"}},
        "services: none is enabled; set services.SERVICE.enabled",
    ),
    "an API server by name": ({"networkPolicy__apiServerCidr": "kubernetes"}, "'/networkPolicy/apiServerCidr'"),
    "a namespace with a port": ({"networkPolicy__redisNamespace": "redis:6379"}, "'/networkPolicy/redisNamespace'"),
    "a pool that is none": ({"defaults__engine__pool": "tpu"}, "tpu is none of pools; name one of gpu"),
    "least over most": ({"defaults__engine__replicas": {"min": 5, "max": 2}}, "min 5 is over max 2"),
    "more objects than shared memory": (
        {"services__moe_router__engine__objectStore": "1Gi"},
        "services.moe_router.engine.objectStore: 1Gi is over sharedMemory, 512Mi",
    ),
    "no replicas of one service": (
        {"services__moe_router__front__replicas": 0},
        "\n- at '/services/moe_router/front/replicas': minimum: got 0, want 1",
    ),
    "no defaults": ({"defaults": [1]}, "'/defaults': got array, want object"),
    "replicas in quotes": ({"defaults__front__replicas": "3"}, "'/defaults/front/replicas': got string, want integer"),
    "a share over all": ({"defaults__front__autoscaling__cpuPercent": 200}, "got 200, want 100"),
    "memory in bytes' own unit": (
        {"defaults__front__resources__limits": {"memory": "4GB"}},
        "'/defaults/front/resources/limits/memory': '4GB' does not match",
    ),
    "a policy of pulling in small letters": ({"image__pullPolicy": "always"}, "value must be one of 'IfNotPresent'"),
    "a tag that YAML reads as a number": ({"image__tag": 1.1}, "'/image/tag': got number, want string"),
    "a toleration misspelt": (
        {"pools__gpu__tolerations": [{"key": "nvidia.com/gpu", "operater": "Exists"}]},
        "'/pools/gpu/tolerations/0': additional properties 'operater' not allowed",
    ),
    "a label that is a number": ({"pools__gpu__nodeSelector": {"gpus": 8}}, "got number, want string"),
    "a network without its length": ({"networkPolicy__storeCidr": "10.0.0.1"}, "'10.0.0.1' does not match"),
    "a port that is none": ({"networkPolicy__storePort": 0}, "'/networkPolicy/storePort': minimum: got 0, want 1"),
    "callers by name": ({"networkPolicy__callers": ["team"]}, "'/networkPolicy/callers/0': got string, want object"),
    "a host with a scheme": ({"gateway__hostnames": ["https://a.example.org"]}, "'/gateway/hostnames/0'"),
    "one host without a list": ({"gateway__hostnames": "a.example.org"}, "got string, want array"),
    "an issuer of no kind": ({"mtls__issuer__kind": "issuer"}, "value must be one of 'Issuer', 'ClusterIssuer'"),
    "a secret by its path": ({"store__existingSecret": "team/s3"}, "'/store/existingSecret': 'team/s3' does not match"),
    "a service nobody knows": ({"services__other": {}}, "services.other.grpcService: is not set"),
}


@pytest.mark.parametrize(("sets", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_named(helm: Path, sets: dict[str, Any], message: str) -> None:
    ran = run_helm(helm, Combination.of("wrong", **sets))
    assert ran.returncode != 0
    assert message in ran.stderr
