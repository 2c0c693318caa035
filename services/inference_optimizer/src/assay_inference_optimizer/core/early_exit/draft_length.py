"""How many tokens to draft before verifying: as long as one more is worth its pass."""

from __future__ import annotations

from dataclasses import dataclass

_BINS = 10
# Weight of what is assumed before anything was seen: two likeliest tokens agree more often than either is right.
_PRIOR = 2.0
# Older rounds fade, because one text drafts better than another.
_KEPT = 0.995
_PROBE_EVERY = 16


@dataclass(frozen=True)
class Costs:
    """One pass of the lower layers over one token, one look at the head, one verifying pass; in any one unit."""

    draft: float
    head: float
    verify: float

    @property
    def plain(self) -> float:
        """Of a token decoded without drafts."""
        return self.draft + self.verify + self.head

    def moved(self, to: Costs, share: float) -> Costs:
        """Towards a new measurement; what took twice as long as usual was disturbed, and counts as twice."""
        pairs = ((self.draft, to.draft), (self.head, to.head), (self.verify, to.verify))
        return Costs(*(old + share * (min(new, 2 * old) - old) for old, new in pairs))


class DraftLength:
    """Optimal stopping on running estimates.

    A drafted token x_m whose chain is kept whole with chance s_m earns s_m tokens for one more pass of the lower
    layers. It is worth it while s_m exceeds that pass's cost times the tokens per cost reached so far. The chance
    of each draft is estimated by the confidence it was drafted with, from the drafts verified before; costs are
    measured as it goes, as those of a small model or a busy machine have little to do with multiply-adds.
    """

    def __init__(self, most: int, costs: Costs) -> None:
        """most: drafts a round; costs: assumed until some are measured."""
        self.most, self._costs = most, costs
        self._kept = [_PRIOR * (0.5 + 0.5 * (index + 0.5) / _BINS) for index in range(_BINS)]
        self._seen = [_PRIOR] * _BINS
        self._measured = False
        self._tokens = self._cost = 0.0
        self._round = 0
        self._survival = 1.0

    def begin(self) -> None:
        """A new round."""
        self._round += 1
        self._survival = 1.0

    def probe(self, drafted: int, room: int) -> bool:
        """Whether to look at the head after `drafted` drafts, when `room` more tokens could be used."""
        if drafted >= min(self.most, room):
            return False
        hoped = self._survival * sum(self._kept) / sum(self._seen)
        return self._round % _PROBE_EVERY == 1 or hoped > (self._costs.draft + self._costs.head) * self._rate

    def spend(self, confidence: float) -> bool:
        """Whether a draft of this confidence is worth a pass of the lower layers."""
        survival = self._survival * self._chance(confidence)
        if survival <= self._costs.draft * self._rate:
            return False
        self._survival = survival
        return True

    def end(self, confidences: list[float], right: int, spent: int, measured: Costs | None = None) -> None:
        """After verification: of the tokens looked at with these confidences, the first `right` were what the whole
        model said, and the one after them, if any, was not. The first `spent` of them were passed on as drafts;
        one more may have been looked at and left, and teaches as well.

        measured: costs of this round, all rounds in the same unit; None goes on with those known.
        """
        for index, confidence in enumerate(confidences[: right + 1]):
            place = _bin(confidence)
            self._seen[place] = self._seen[place] * _KEPT + 1.0
            self._kept[place] = self._kept[place] * _KEPT + float(index < right)
        if measured is not None:
            self._costs = self._costs.moved(measured, 0.1) if self._measured else measured
            self._measured = True
        costs = self._costs
        self._tokens = self._tokens * _KEPT + min(right, spent) + 1
        looks = len(confidences) + 1
        self._cost = self._cost * _KEPT + (spent + 1) * costs.draft + looks * costs.head + costs.verify

    @property
    def _rate(self) -> float:
        """Tokens per cost, by drafting so far or without it."""
        plain = 1.0 / self._costs.plain
        return max(plain, self._tokens / self._cost) if self._round > _PROBE_EVERY else plain

    def _chance(self, confidence: float) -> float:
        place = _bin(confidence)
        return self._kept[place] / self._seen[place]


def _bin(confidence: float) -> int:
    return min(_BINS - 1, int(confidence * _BINS))
