"""The combinations of values that the chart is rendered with."""

from __future__ import annotations

import itertools

from charts.rendering import Combination

SERVICES = ("moe_router", "inference_optimizer", "tom_verifier")
LARGE = ("gpu",)


def combinations() -> list[Combination]:
    """Every values file, every subset of services, and options in turn and together."""
    of = Combination.of
    found = [of("laptop"), of("gpu", LARGE), of("ha", ("gpu", "ha"))]
    for size in (1, 2, 3):
        for chosen in itertools.combinations(SERVICES, size):
            sets = {f"services__{name}__enabled": name in chosen for name in SERVICES}
            found += [of(f"{base[-1]}: {', '.join(chosen)}", base, **sets) for base in (("laptop",), LARGE)]
    transports = {
        "plaintext": {"transport": "plaintext"},
        "mtls by cert-manager": {"transport": "mtls", "mtls__issuer__name": "ca", "mtls__issuer__kind": "Issuer"},
        "mtls by a secret": {"transport": "mtls", "mtls__existingSecret": "certificates"},
        "mesh": {"transport": "mesh", "mesh__callers": ["cluster.local/ns/team/sa/notebook"]},
    }
    for (name, transport), placement in itertools.product(transports.items(), ("rayservice", "in-process")):
        found.append(of(f"{name}, {placement}", **transport, defaults__engine__placement=placement))
    gateway = {"gateway__enabled": True, "gateway__parent": {"name": "public", "namespace": "edge"}}
    options = {
        "gateway": {**gateway, "gateway__hostnames": ["assay.example.org"], "transport": "plaintext"},
        "no network policy": {"networkPolicy__enabled": False},
        "callers": {
            "networkPolicy__callers": [{"team": "evaluation"}],
            "networkPolicy__metricsNamespace": "monitoring",
        },
        "own token": {"engineToken__existingSecret": "token"},
        "allow list": {
            "defaults__front__allow": {"*": ["spiffe://example.org/checkup"]},
            "administrators": ["spiffe://x/a"],
        },
        "traces": {"telemetry__otlpEndpoint": "http://collector.telemetry:4317", "telemetry__logLevel": "DEBUG"},
        "monitoring": {
            "monitoring": {"serviceMonitor": True, "alerts": True, "dashboard": True, "labels": {"a": "b"}},
            "networkPolicy__metricsNamespace": "monitoring",
        },
        "fixed fronts": {"defaults__front__autoscaling__enabled": False, "defaults__front__replicas": 5},
        "registry": {"image": {"registry": "images.example.org/t", "tag": "1", "pullSecrets": [{"name": "pull"}]}},
        "taking the old cluster down first": {"defaults__engine__upgrade__strategy": "None"},
        "Redis": {"gcsFaultTolerance": {"enabled": True, "redisAddress": "redis:6379", "existingSecret": "redis"}},
    }
    found += [of(name, ("laptop",), **sets) for name, sets in options.items()]
    found += [of(f"gpu, {name}", LARGE, **sets) for name, sets in options.items()]
    mesh = {"transport": "mesh", "mesh__callers": ["cluster.local/ns/team/sa/notebook"]}
    together = {path: value for sets in options.values() for path, value in sets.items()}
    found.append(of("all options together", ("gpu", "ha"), **{**together, "transport": "mesh"}, mtls={}))
    found.append(of("mesh behind a gateway", LARGE, **mesh, **gateway, mtls={}, mesh__controlNamespace="mesh"))
    found.append(of("mesh without network policy", **mesh, networkPolicy__enabled=False))
    watched = {"monitoring": {"serviceMonitor": True}, "networkPolicy__metricsNamespace": "monitoring"}
    found.append(of("engines watched", LARGE, **watched))
    found.append(of("mesh, watched", **mesh, **watched))
    further = {"grpcService": "assay.dummy.v1.DummyService", "engine": {"ongoing": 2}}
    found += [
        of(f"a further service, {base[-1]}", base, services__your_service=further) for base in (("laptop",), LARGE)
    ]
    found.append(of("a further service in a mesh", **mesh, **gateway, services__your_service=further))
    found.append(of("in-process on GPUs' values", LARGE, defaults__engine__placement="in-process"))
    named = {"apiServerCidr": "10.0.0.1/32", "storeCidr": "10.1.0.0/16", "otlpNamespace": "telemetry"}
    exact = {f"networkPolicy__{name}": value for name, value in named.items()}
    found.append(of("exact openings", ("gpu", "ha"), **options["traces"], **exact))
    found.append(of("replicas of part of a core", defaults__engine__resources__cpu=1.5))
    found.append(of("MinIO on a volume", minio__storageClass="fast"))
    found.append(of("store at an address", LARGE, store__url="s3://bucket/prefix?endpoint=http://10.0.0.9:9000"))
    return found
