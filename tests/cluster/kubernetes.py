"""The Kubernetes that these tests run on: one of their own, or the one that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conftest import REPOSITORY, find_tool

Object = dict[str, Any]


def own_cluster() -> Path | None:
    """The script that starts a one-node Kubernetes, in the folder ASSAY_TOOLS; None where there is none."""
    script = Path(os.environ.get("ASSAY_TOOLS", REPOSITORY / "../shared/tools")).resolve() / "cluster"
    return script if os.access(script, os.X_OK) and os.geteuid() == 0 else None


class Kubernetes:
    """Runs programs where the names of the cluster's Services resolve.

    script: of our own cluster; None for the user's, of which KUBECONFIG tells and whose Services must be reachable
    from here by name (from a pod, or over a VPN).
    """

    def __init__(self, script: Path | None) -> None:
        self._within = [str(script), "exec"] if script else []
        self._script = script
        self.own = script is not None
        self._started = False
        self._helm = str(find_tool("helm"))

    def start(self) -> None:
        """Brings our own up, with KubeRay's operator, unless one is up already."""
        if self._script is None:
            return
        up = subprocess.run([self._script, "status"], capture_output=True, text=True, check=False)
        self._started = "kubelet up" not in up.stdout
        for command in ("deps", "up", "kuberay"):
            if command == "deps" and shutil.which("runc") and shutil.which("nft"):
                continue
            done = subprocess.run([self._script, command], capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"cluster {command}: {done.stdout}{done.stderr}")

    def stop(self) -> None:
        """Removes what `start` brought up, and nothing that was up before."""
        if self._script is not None and self._started:
            subprocess.run([self._script, "down"], capture_output=True, timeout=120, check=False)

    def load(self, archives: Sequence[Path]) -> None:
        """Gives our own cluster's node the images of docker archives, unless it has them."""
        assert self._script is not None
        built = archives[0].parent.name
        kept = self.run("kubectl", "get", "configmap", "images", "-o", "jsonpath={.data.built}", check=False)
        if kept.stdout != built:
            subprocess.run([self._script, "load", *archives], capture_output=True, timeout=600, check=True)
            self.kubectl("delete", "configmap", "images", "--ignore-not-found")
            self.kubectl("create", "configmap", "images", f"--from-literal=built={built}")

    def simulate(self, nodes: int) -> None:
        """Adds nodes of 8 GPUs each that nothing runs on: pods bound there are said to run."""
        if self._script is None:
            raise RuntimeError("only a cluster of our own is given simulated nodes")
        subprocess.run([self._script, "simulate", str(nodes)], capture_output=True, timeout=600, check=True)

    def command(self, *command: str | Path) -> list[str]:
        """What runs `command` within."""
        return [*self._within, *map(str, command)]

    def run(
        self, *command: str | Path, timeout: float = 120, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """AssertionError with the program's own words where it fails."""
        done = subprocess.run(
            self.command(*command), capture_output=True, text=True, timeout=timeout, check=False, **options
        )
        if check:
            shown = " ".join(map(str, command))
            assert done.returncode == 0, f"{shown[:300]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def start_program(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.run("kubectl", *arguments, **options).stdout

    def helm(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(self._helm, *arguments, **options)

    def get(self, kind: str, namespace: str, name: str = "", selector: str = "") -> Any:
        """One object, or the list of those that `selector` names."""
        asked = ["get", kind, "-n", namespace, "-o", "json", *([name] if name else ["-l", selector])]
        found = json.loads(self.kubectl(*asked))
        return found if name else found["items"]

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Those that are not on their way out."""
        found: list[Object] = self.get("pods", namespace, selector=selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def until(what: str, seconds: float, holds: Callable[[], Any]) -> Any:
    """The first true answer of `holds`; AssertionError that names `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return found


def is_ready(pod: Object) -> bool:
    conditions: Sequence[Object] = pod.get("status", {}).get("conditions", [])
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
