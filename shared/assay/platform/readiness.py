"""Whether a release's parts are ready: fronts and the store by their rollout, engines by what KubeRay says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from assay.errors import AssayError
from assay.platform.api import Cluster, Object
from assay.platform.helm import Target
from assay.platform.workloads import Rendered

POLL_S = 0.5
Listener = Callable[[Sequence["Part"]], None]
LASTING = ("Deployment", "StatefulSet", "RayService")


@dataclass(frozen=True)
class Part:
    """serving: pods (or endpoints) that answer calls now, of whichever revision. note: what is going on."""

    kind: str
    name: str
    ready: int
    wanted: int
    serving: int
    done: bool
    note: str = ""


@dataclass
class Wait:
    """What was seen while waiting. gaps: parts that had served before and at some moment did not.

    unseen: why the last look saw nothing, empty where it did.
    """

    parts: list[Part] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    seconds: float = 0.0
    unseen: str = ""

    @property
    def ready(self) -> bool:
        return bool(self.parts) and not self.unseen and all(part.done for part in self.parts)

    @property
    def missing(self) -> list[Part]:
        return [part for part in self.parts if not part.done]


def read_parts(cluster: Cluster, target: Target, rendered: Rendered) -> list[Part]:
    """As they are now, each of the release's workloads once."""
    found = []
    for made in rendered.objects:
        if made["kind"] in LASTING:
            name = made["metadata"]["name"]
            live = cluster.find(cluster.path_of(made["apiVersion"], made["kind"], target.namespace, name))
            if live is None:
                found.append(Part(made["kind"], name, 0, 1, 0, False, "is not there"))
            elif made["kind"] == "RayService":
                found.append(_engine(live))
            else:
                found.append(_rollout(live))
    return found


class Watch:
    """Looks at a release's parts again and again; `on_parts` hears each look. served: parts that served before."""

    def __init__(
        self, cluster: Cluster, target: Target, rendered: Rendered, on_parts: Listener, *, served: Iterable[str] = ()
    ) -> None:
        self.seen = Wait()
        self.served = set(served)
        self._read = partial(read_parts, cluster, target, rendered)
        self._on_parts = on_parts
        self._begun = time.monotonic()

    def look(self) -> Wait:
        """Once. What cannot be read is left as it was: a silent server says nothing about the release."""
        self.seen.seconds = time.monotonic() - self._begun
        try:
            self.seen.parts, self.seen.unseen = self._read(), ""
        except AssayError as error:
            self.seen.unseen = error.message
        for part in self.seen.parts:
            if part.serving:
                self.served.add(part.name)
            elif part.name in self.served and part.name not in self.seen.gaps:
                self.seen.gaps.append(part.name)
        self._on_parts(self.seen.parts)
        return self.seen

    def until_ready(self, timeout_s: float) -> Wait:
        """Until all parts are ready or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not self.look().ready and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
        return self.seen

    def while_running(self, act: Callable[[], None]) -> None:
        """Looks on while `act` runs, and raises what it raises."""
        self.look()
        with ThreadPoolExecutor(max_workers=1) as pool:
            acting = pool.submit(act)
            while not acting.done():
                wait([acting], timeout=POLL_S)
                self.look()
            acting.result()


def _rollout(live: Object) -> Part:
    """Done as `kubectl rollout status` has it."""
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
    updated = status.get("updatedReplicas", 0) if seen else 0
    available = status.get("availableReplicas", 0)
    ready = min(updated, available)
    done = seen and ready >= wanted and status.get("replicas", 0) == updated
    note = "" if done else "old pods still serve" if available and updated < wanted else "starting"
    return Part(live["kind"], live["metadata"]["name"], min(ready, wanted), wanted, available, done, note)


def _engine(live: Object) -> Part:
    """Ready for the newest specification, and no upgrade under way."""
    status = live.get("status", {})
    seen = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    serving = conditions.get("Ready", {}).get("status") == "True"
    upgrading = conditions.get("UpgradeInProgress", {}).get("status") == "True"
    done = seen and serving and not upgrading
    states = [f"{app}: {state}" for app, state, _ in applications(live)]
    said = conditions.get("UpgradeInProgress" if upgrading else "Ready", {}).get("message", "no word from KubeRay yet")
    note = ", ".join(states) or said
    if upgrading:
        note = f"upgrading: {note}"
    return Part("RayService", live["metadata"]["name"], int(done), 1, int(serving), done, note)


def applications(live: Object) -> Iterator[tuple[str, str, str]]:
    """(application, status, message) of a RayService; those of a cluster that is coming up are marked so."""
    status = live.get("status", {})
    for part, mark in (("activeServiceStatus", ""), ("pendingServiceStatus", " (new)")):
        for name, found in sorted((status.get(part, {}).get("applicationStatuses") or {}).items()):
            yield f"{name}{mark}", found.get("status", "UNKNOWN"), " ".join(found.get("message", "").split())
