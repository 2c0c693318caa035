"""A recorded run held against the simulation of the same arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.capacity.arrivals import RecordedCall, spread
from assay.capacity.outcome import percentiles
from assay.errors import InvalidInput


@dataclass(frozen=True)
class Compared:
    """Milliseconds by share, of the recording and of the simulation; calls a second and spread of the recording."""

    calls: int
    failed: int
    per_s: float
    arrival_scv: float
    recorded_ms: dict[str, float]
    simulated_ms: dict[str, float]

    def ratios(self) -> dict[str, float]:
        """Simulated over recorded."""
        return {
            name: self.simulated_ms[name] / value
            for name, value in self.recorded_ms.items()
            if value and name in self.simulated_ms
        }


def compare(recorded: Sequence[RecordedCall], simulated_s: dict[str, float]) -> Compared:
    """recorded: with milliseconds, as a front logs them. simulated_s: ServiceOutcome.answer_s of the same arrivals."""
    timed = [call.ms for call in recorded if call.ms is not None and call.code in ("OK", "")]
    if not timed:
        raise InvalidInput("recorded", "holds no answered call with its milliseconds; give a front's log or seconds,ms")
    times = [call.arrived for call in recorded]
    return Compared(
        len(recorded), len(recorded) - len(timed), (len(times) - 1) / (times[-1] or 1.0), spread(times),
        percentiles(timed), {name: 1e3 * value for name, value in simulated_s.items()},
    )  # fmt: skip
