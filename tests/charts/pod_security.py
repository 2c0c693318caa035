"""The Pod Security Standards' strictest profile, "restricted", with what it takes over from "baseline".

After the tables of https://kubernetes.io/docs/concepts/security/pod-security-standards/ for Kubernetes 1.37. Windows'
controls are looked at only so far as a pod must not ask for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
APPARMOR = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
HANDLERS = ("httpGet", "tcpSocket")


def violations(spec: dict[str, Any]) -> list[str]:
    """What of a pod's `spec` an API server refuses in a namespace that enforces the profile; in words."""
    return [*_of_pod(spec), *(f"{each['name']}: {said}" for each in _containers(spec) for said in _of(each, spec))]


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field, [])


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - VOLUMES - {"name"}:
            yield f"volume {volume['name']} is a {kind}"
    security = spec.get("securityContext", {})
    for sysctl in security.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_context(security)


def _of(container: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    security, of_pod = container.get("securityContext", {}), spec.get("securityContext", {})
    yield from _of_context(security)
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if security.get("procMount", "Default") != "Default":
        yield "procMount"
    if security.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if not (security.get("seccompProfile") or of_pod.get("seccompProfile")):
        yield "no seccompProfile"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    handlers = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
    handlers += [container.get("lifecycle", {}).get(hook, {}) for hook in ("postStart", "preStop")]
    if any(handler.get(kind, {}).get("host") for handler in handlers for kind in HANDLERS):
        yield "a probe or a hook asks another host"


def _of_context(security: dict[str, Any]) -> Iterator[str]:
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    if security.get("runAsUser") == 0:
        yield "runAsUser 0"
    if security.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if (profile := security.get("seccompProfile")) and profile["type"] not in SECCOMP:
        yield f"seccompProfile {profile['type']}"
    if (profile := security.get("appArmorProfile")) and profile["type"] not in APPARMOR:
        yield f"appArmorProfile {profile['type']}"
    selinux = security.get("seLinuxOptions", {})
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"
