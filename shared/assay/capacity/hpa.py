"""Kubernetes' HorizontalPodAutoscaler on CPU, with the defaults of autoscaling/v2.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (algorithm details; default behaviour).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

SYNC_S = 15.0
TOLERANCE = 0.1
DOWN_WINDOW_S = 300.0
UP_PODS, UP_SHARE, UP_PERIOD_S = 4, 1.0, 15.0


def desired_replicas(ready: int, unready: int, used: float, target: float) -> int:
    """ceil(current * ratio), no change within the tolerance. used: of all ready pods together, target: of one.

    Pods that are not ready count as using nothing where that is about to add pods, and not at all otherwise.
    """
    current = ready + unready
    if ready == 0:
        return current
    ratio = used / (target * ready)
    if abs(ratio - 1) <= TOLERANCE:
        return current
    if unready and ratio > 1:
        ratio = used / (target * current)
        if ratio < 1 or abs(ratio - 1) <= TOLERANCE:
            return current
        return math.ceil(ratio * current)
    return math.ceil(ratio * ready)


@dataclass
class Hpa:
    """One autoscaler. target: cores a pod should use."""

    least: int
    most: int
    target: float
    _advice: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _starts: deque[tuple[float, int]] = field(default_factory=deque, init=False)

    def sync(self, now: float, ready: int, unready: int, used: float) -> int:
        """The new number of pods; call every SYNC_S."""
        current = ready + unready
        wanted = desired_replicas(ready, unready, used, self.target)
        self._advice.append((now, wanted))
        while self._advice[0][0] < now - DOWN_WINDOW_S:
            self._advice.popleft()
        # Down: the highest advice of the window. Up has no window.
        wanted = max(wanted, min(current, max(advice for _, advice in self._advice)))
        if wanted > current:
            while self._starts and self._starts[0][0] <= now - UP_PERIOD_S:
                self._starts.popleft()
            before = current - sum(count for _, count in self._starts)
            wanted = min(wanted, max(before + UP_PODS, math.ceil(before * (1 + UP_SHARE))))
        wanted = max(self.least, min(self.most, wanted))
        if wanted > current:
            self._starts.append((now, wanted - current))
        return wanted
