"""Objects of add-ons, held against validators that npm packages carry (package.json here names them).

Fields that the CRDs do not know are faults too: see custom_resources.mjs. Rules in CEL (`x-kubernetes-validations`) are
not looked at; only an API server evaluates them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from charts.absent import absent
from charts.rendering import REPOSITORY, Object

HERE = Path(__file__).parent
INSTALLED = REPOSITORY / ".venv-lint/custom-resources"
GROUPS = {
    "cert-manager.io",
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "networking.istio.io",
    "security.istio.io",
}


class CustomResources:
    """One Node process that answers for one object after another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, found: Object) -> dict[str, Any]:
        """faults: what is wrong with it, in words; open: paths of objects in which any field is allowed."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(found) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, "node ended; what it said stands in the captured stderr"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
        node = shutil.which("node")
        if node is None or {name: _version(name) for name in wanted} != wanted:
            absent("needs node, and the packages of tests/charts/package.json: make test-tools")
        self._process = subprocess.Popen(
            [node, HERE / "custom_resources.mjs", INSTALLED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._process


def _version(name: str) -> str | None:
    file = INSTALLED / "node_modules" / name / "package.json"
    return str(json.loads(file.read_text())["version"]) if file.is_file() else None
