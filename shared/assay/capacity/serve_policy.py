"""How Ray Serve 2.60 chooses the number of replicas: its default policy, and the figure that it is told.

Read in ray's own source, `serve/autoscaling_policy.py`, `serve/_private/autoscaling_state.py` and `replica.py`; held
against them by tests/unit/capacity/test_serve_policy.py. In HAProxy mode calls reach a replica without a handle, so the
replicas report: each notes its open calls every min(0.2 look_back_s, metrics_interval_s) and sends what it has of the
last look_back_s every metrics_interval_s. A call that waits for one of max_ongoing places is not among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

# Of elapsed times, where Ray allows for rounding.
ROUNDING_S = 1e-6


@dataclass
class ServePolicy:
    """The state of one deployment. up, down: factors on the change that is wanted (upscaling_factor, ...)."""

    least: int
    most: int
    ongoing: float
    upscale_delay_s: float
    downscale_delay_s: float
    up: float = 1.0
    down: float = 1.0
    _wants: int = field(default=0, init=False)
    _since: float | None = field(default=None, init=False)

    def decide(self, now: float, running: int, target: int, total: float) -> int:
        """The new target. running: replicas that take calls; target: the last decision; total: open calls as told."""
        return max(self.least, min(self.most, self._decide(now, running, target, total)))

    def _decide(self, now: float, running: int, target: int, total: float) -> int:
        if running == 0:
            if total > 0:
                return max(math.ceil(self.up), target)
            if target > 0:
                return target
            self._wants, self._since = 0, None
            return 0
        return self._delayed(now, target, max(0, self._desired(running, total)))

    def _desired(self, running: int, total: float) -> int:
        # In Ray's order of operations, so that both round alike.
        wanted = running * (total / (self.ongoing * running))
        factor = self.up if wanted > running else self.down
        scaled = math.ceil(running + factor * (wanted - running))
        if math.ceil(wanted) < running and scaled == running:
            scaled -= 1
        return scaled

    def _delayed(self, now: float, target: int, desired: int) -> int:
        """A change must be wanted for its delay without a break; to 0 the way goes over 1 alone."""
        wants = (desired > target) - (desired < target)
        if wants == 0:
            self._wants, self._since = 0, None
            return target
        if wants != self._wants or self._since is None:
            self._wants, self._since = wants, now
        delay_s = self.upscale_delay_s if wants > 0 else self.downscale_delay_s
        if now - self._since + ROUNDING_S < delay_s:
            return target
        self._wants, self._since = 0, None
        return desired if wants > 0 or target == 1 else max(1, desired)


def mean_of_reports(series: Sequence[Sequence[tuple[float, float]]], now: float) -> float:
    """Open calls as the controller reckons them: the sum of all series, averaged over time.

    series: of each source, (time, value) ascending; a value holds until the next. The window opens once every source
    has a first point, so a replica that has just joined shortens it for all.
    """
    filled = [each for each in series if each]
    if not filled:
        return 0.0
    start = max(each[0][0] for each in filled)
    end = max(now, max(each[-1][0] for each in filled) + 1e-3)
    area = 0.0
    for each in filled:
        until = end
        for time, value in reversed(each):
            if time <= start:
                area += value * (until - start)
                break
            area += value * (until - time)
            until = time
    return area / (end - start)
