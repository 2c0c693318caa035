"""Helm's records of a release, marked: what this tool made and has not seen ready is not what served."""

from __future__ import annotations

from assay.platform.api import Cluster
from assay.platform.helm import Target

AWAITED = "assay.platform/awaited"


class Records:
    """Of one release. Helm keeps each revision in a Secret and calls it deployed before any of its parts is ready.

    So Helm makes a revision with the label AWAITED, whose value names the run, and it is taken off once all is ready.
    What is made of a marked revision by another helm carries the mark, too.
    """

    def __init__(self, cluster: Cluster, target: Target) -> None:
        self._cluster = cluster
        self._release = target.release
        self._secrets = f"/api/v1/namespaces/{target.namespace}/secrets"

    def awaited(self, run: str = "") -> list[int]:
        """Revisions that were never seen ready, oldest first; only those with the mark of `run` where it is given."""
        mark = f"{AWAITED}={run}" if run else AWAITED
        found = self._cluster.list(self._secrets, labelSelector=f"owner=helm,name={self._release},{mark}")
        return sorted(int(each["metadata"]["labels"]["version"]) for each in found)

    def settle(self, revision: int) -> None:
        """Takes the mark off a revision that got ready."""
        name = f"sh.helm.release.v1.{self._release}.v{revision}"
        self._cluster.patch(f"{self._secrets}/{name}", {"metadata": {"labels": {AWAITED: None}}})
