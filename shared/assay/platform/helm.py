"""Helm, as a program: what it would install, what it has installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import DeadlineExceeded, FailedPrecondition, InvalidInput, NotFound
from assay.platform.api import Object

CHART = Path("charts/assay")
QUICK_S = 60.0


@dataclass(frozen=True)
class Target:
    """One release in one namespace of one cluster."""

    release: str
    namespace: str
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True)
class Values:
    """What goes over the chart's own values, in order: a document, files, `--set` texts."""

    files: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    document: str = ""

    def arguments(self) -> list[str]:
        """The document goes to Helm's standard input: it may hold what no list of processes should show."""
        given = ["--values", "-"] if self.document else []
        given += [text for file in self.files for text in ("--values", str(file))]
        return given + [text for each in self.sets for text in ("--set", each)]

    @property
    def complete(self) -> bool:
        """Whether they say all that is wanted; single values alone say what differs from what the release has."""
        return bool(self.files or self.document)

    def __bool__(self) -> bool:
        return bool(self.files or self.sets or self.document)


@dataclass(frozen=True)
class Revision:
    """One entry of a release's history. status: Helm's, e.g. deployed, failed, superseded."""

    number: int
    status: str
    description: str


def find_chart(chart: Path | None, start: Path | None = None) -> Path:
    """`chart`, or charts/assay of the checkout around this file or around the working directory."""
    if chart is not None:
        if not (chart / "Chart.yaml").is_file() and chart.suffix != ".tgz":
            raise InvalidInput("--chart", f"{chart} holds no Chart.yaml; name the folder charts/assay of a checkout")
        return chart
    places = [*Path(__file__).resolve().parents, *((start or Path.cwd()) / "x").resolve().parents]
    for place in places:
        if (place / CHART / "Chart.yaml").is_file():
            return place / CHART
    raise FailedPrecondition("there is no charts/assay around here; name the chart's folder with --chart")


class Helm:
    """Runs `helm` for one target. FailedPrecondition where there is none, or where it keeps no records in Secrets."""

    def __init__(self, target: Target) -> None:
        program = shutil.which("helm")
        if program is None:
            raise FailedPrecondition("there is no `helm` on PATH; install Helm 3 (https://helm.sh) and try again")
        driver = os.environ.get("HELM_DRIVER", "")
        if driver not in ("", "secret", "secrets"):  # assay.platform.records would see none
            raise FailedPrecondition(f"HELM_DRIVER is {driver}, and records are looked for in Secrets; unset it")
        self.target = target
        self._program = program

    def template(self, chart: Path, values: Values, *, kubernetes: str) -> list[Object]:
        """What the chart renders without asking any cluster, hooks included; tests are left out."""
        arguments = ["template", self.target.release, str(chart), "--namespace", self.target.namespace]
        text = self._run([*arguments, "--skip-tests", "--kube-version", kubernetes, *values.arguments()],
                         QUICK_S, values.document)  # fmt: skip
        return documents(text)

    def dry_run(self, chart: Path, values: Values, *, upgrade: bool) -> list[Object]:
        """What an installation or an upgrade would send, rendered against the cluster (secrets that are there stay)."""
        verb = "upgrade" if upgrade else "install"
        arguments = [verb, self.target.release, str(chart), "--dry-run=server", "--output", "json"]
        given = _over_the_releases(values) if upgrade else values.arguments()
        found = json.loads(self._here([*arguments, *given], QUICK_S))
        hooks = [each["manifest"] for each in found.get("hooks") or [] if "test" not in each.get("events", [])]
        return documents("\n---\n".join([found["manifest"], *hooks]))

    def install(
        self, chart: Path, values: Values, *, timeout_s: float, labels: Mapping[str, str] | None = None
    ) -> None:
        """labels: of Helm's record of the revision."""
        self._here(["install", self.target.release, str(chart), *self._patience(timeout_s), *_labels(labels or {}),
                    *values.arguments()], timeout_s + QUICK_S)  # fmt: skip

    def upgrade(
        self, chart: Path, values: Values, *, timeout_s: float, labels: Mapping[str, str] | None = None
    ) -> None:
        """Without a file of values it keeps the release's, over the chart's own as these are now."""
        self._here(["upgrade", self.target.release, str(chart), *self._patience(timeout_s), *_labels(labels or {}),
                    *_over_the_releases(values)], timeout_s + QUICK_S)  # fmt: skip

    def rollback(self, revision: int, *, timeout_s: float) -> None:
        self._here(["rollback", self.target.release, str(revision), *self._patience(timeout_s)], timeout_s + QUICK_S)

    def uninstall(self, *, timeout_s: float) -> None:
        self._here(["uninstall", self.target.release, "--wait", *self._patience(timeout_s)], timeout_s + QUICK_S)

    def history(self) -> list[Revision]:
        """Oldest first; empty where there is no such release."""
        try:
            found = json.loads(self._here(["history", self.target.release, "--output", "json"], QUICK_S))
        except NotFound:
            return []
        return [Revision(int(each["revision"]), each["status"], each.get("description", "")) for each in found]

    def manifest(self, revision: int | None = None) -> list[Object]:
        """What a revision (the newest by default) is made of, without hooks. NotFound where there is none."""
        chosen = ["--revision", str(revision)] if revision else []
        return documents(self._here(["get", "manifest", self.target.release, *chosen], QUICK_S))

    def hooks(self) -> list[Object]:
        """Objects of the newest revision that Helm makes around it, and may leave behind; tests among them."""
        return documents(self._here(["get", "hooks", self.target.release], QUICK_S))

    def values(self, *, everything: bool = False) -> Object:
        """What was set over the chart's values, or all of them. NotFound where there is no such release."""
        more = ["--all"] if everything else []
        found = self._here(["get", "values", self.target.release, "--output", "json", *more], QUICK_S)
        return dict(json.loads(found) or {})

    def version(self) -> str:
        return self._run(["version", "--short"], QUICK_S).strip()

    def _here(self, arguments: Sequence[str], timeout_s: float) -> str:
        where = ["--namespace", self.target.namespace]
        if self.target.kubeconfig:
            where += ["--kubeconfig", str(self.target.kubeconfig)]
        if self.target.context:
            where += ["--kube-context", self.target.context]
        return self._run([*arguments, *where], timeout_s)

    def _run(self, arguments: Sequence[str], timeout_s: float, stdin: str = "") -> str:
        try:
            ran = subprocess.run(
                [self._program, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False,
                input=stdin, env=os.environ | {"HELM_BURST_LIMIT": "300"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(
                f"helm {arguments[0]} did not end within {timeout_s:.0f} s; it was stopped"
            ) from None
        if ran.returncode == 0:
            return ran.stdout
        said = ran.stderr.strip().removeprefix("Error: ")
        if "release: not found" in said:
            raise NotFound(f"there is no release {self.target.release} in namespace {self.target.namespace}")
        if "values don't meet" in said or "execution error at" in said:
            raise InvalidInput("values", said.partition("execution error at ")[2] or said)
        raise FailedPrecondition(f"helm {arguments[0]}: {said}", reason="HELM")

    def _patience(self, timeout_s: float) -> list[str]:
        return ["--timeout", f"{max(1, round(timeout_s))}s"]


def _labels(labels: Mapping[str, str]) -> list[str]:
    return [text for key, value in labels.items() for text in ("--labels", f"{key}={value}")]


def _over_the_releases(values: Values) -> list[str]:
    # Helm's --reuse-values would keep the old chart's own values, and a newer chart would miss what it added.
    return [*([] if values.complete else ["--reset-then-reuse-values"]), *values.arguments()]


def documents(text: str) -> list[Object]:
    """The objects of a manifest."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [found for found in yaml.load_all(text, Loader=loader) if found]
