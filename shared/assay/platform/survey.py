"""One look at a cluster for one release: what several checks ask for is asked for once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from assay.platform.api import Cluster, Object
from assay.platform.helm import Target
from assay.platform.nodes import Node, occupy
from assay.platform.ownership import read_namespace
from assay.platform.workloads import Rendered

RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


class Survey:
    """gpu_memory: bytes that a replica needs of one GPU, 0 where nobody said. least, tested: Kubernetes versions."""

    def __init__(
        self, cluster: Cluster, target: Target, rendered: Rendered, *, least: str, tested: str, gpu_memory: int = 0
    ) -> None:
        self.cluster = cluster
        self.target = target
        self.rendered = rendered
        self.least = least
        self.tested = tested
        self.gpu_memory = gpu_memory

    @cached_property
    def namespace(self) -> Object | None:
        return read_namespace(self.cluster, self.target.namespace)

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes; free is what pods of others leave, since this release's own make room for themselves."""
        # On a large cluster each of the two lists takes its seconds.
        with ThreadPoolExecutor(max_workers=1) as beside:
            pods = beside.submit(lambda: list(self.cluster.list("/api/v1/pods", fieldSelector=RUNNING)))
            nodes = [Node.of(found) for found in self.cluster.list("/api/v1/nodes")]
        occupy(nodes, (pod for pod in pods.result() if not self.is_ours(pod)))
        return nodes

    def is_ours(self, pod: Object) -> bool:
        meta = pod["metadata"]
        instance = meta.get("labels", {}).get("app.kubernetes.io/instance")
        return bool(meta["namespace"] == self.target.namespace and instance == self.target.release)

    def empty_nodes(self) -> Sequence[Node]:
        """A copy of the nodes, on which room may be taken."""
        return copy.deepcopy(self.nodes)

    @cached_property
    def storage_classes(self) -> list[Object]:
        return list(self.cluster.list("/apis/storage.k8s.io/v1/storageclasses"))
