"""Every pod fits a namespace that enforces Kubernetes' strictest Pod Security Standard."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from charts.matrix import combinations
from charts.pod_security import violations
from charts.rendering import Combination, pods_of, render

CONTAINER = {
    "name": "c",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
    "volumes": [{"name": "v", "emptyDir": {}}],
}
POD, FIRST, SECURITY = ("securityContext",), ("containers", 0), ("containers", 0, "securityContext")
# What is set, where: each of the standard's controls once.
REFUSED: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "host network": (("hostNetwork",), True),
    "host processes": (("hostPID",), True),
    "host IPC": (("hostIPC",), True),
    "a path of the node": (("volumes",), [{"name": "v", "hostPath": {"path": "/"}}]),
    "NFS": (("volumes",), [{"name": "v", "nfs": {"server": "s", "path": "/"}}]),
    "a sysctl of the node": ((*POD, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    "Windows' host processes": ((*SECURITY, "windowsOptions"), {"hostProcess": True}),
    "privileged": ((*SECURITY, "privileged"), True),
    "escalation": ((*SECURITY, "allowPrivilegeEscalation"), True),
    "escalation unsaid": (SECURITY, {"capabilities": {"drop": ["ALL"]}}),
    "proc unmasked": ((*SECURITY, "procMount"), "Unmasked"),
    "root by number": ((*POD, "runAsUser"), 0),
    "root by number in a container": ((*SECURITY, "runAsUser"), 0),
    "perhaps root": ((*POD, "runAsNonRoot"), False),
    "perhaps root in a container": ((*SECURITY, "runAsNonRoot"), False),
    "no seccomp": (POD, {"runAsNonRoot": True}),
    "seccomp off": ((*POD, "seccompProfile"), {"type": "Unconfined"}),
    "seccomp off in a container": ((*SECURITY, "seccompProfile"), {"type": "Unconfined"}),
    "AppArmor off": ((*SECURITY, "appArmorProfile"), {"type": "Unconfined"}),
    "an SELinux type": ((*POD, "seLinuxOptions"), {"type": "spc_t"}),
    "an SELinux user": ((*POD, "seLinuxOptions"), {"user": "system_u"}),
    "capabilities kept": ((*SECURITY, "capabilities"), {"drop": ["NET_RAW"]}),
    "a capability added": ((*SECURITY, "capabilities", "add"), ["NET_ADMIN"]),
    "a port of the node": ((*FIRST, "ports"), [{"containerPort": 1, "hostPort": 1}]),
    "a probe elsewhere": ((*FIRST, "livenessProbe"), {"httpGet": {"host": "10.0.0.1", "port": 1}}),
    "a hook elsewhere": ((*FIRST, "lifecycle"), {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 1}}}),
    "an init container": (("initContainers",), [{"name": "i", "image": "image:1"}]),
}


@pytest.mark.parametrize("combination", combinations(), ids=lambda each: each.name)
def test_every_pod_fits(helm: Path, combination: Combination) -> None:
    found = [(component, violations(pod["spec"])) for component, pod in pods_of(render(helm, combination))]
    assert len(found) >= 3
    assert [each for each in found if each[1]] == []


def test_the_least_that_fits() -> None:
    assert violations(GOOD) == []
    low_port = copy.deepcopy(GOOD)
    low_port["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    assert violations(low_port) == []


@pytest.mark.parametrize(("path", "value"), REFUSED.values(), ids=REFUSED)
def test_each_control_is_looked_at(path: tuple[str | int, ...], value: Any) -> None:
    spec: Any = copy.deepcopy(GOOD)
    *above, last = path
    inner = spec
    for step in above:
        inner = inner[step]
    inner[last] = value
    assert violations(spec)
