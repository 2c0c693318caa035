"""How many tokens to draft before verifying: as long as one more is worth its pass."""

from __future__ import annotations

_BINS = 10
# Weight of what is assumed before anything was seen: a draft of confidence p is kept with chance p.
_PRIOR = 4.0
# Older rounds fade, because one text drafts better than another.
_KEPT = 0.995
_PROBE_EVERY = 16


class DraftLength:
    """Optimal stopping on running estimates; deterministic.

    A drafted token x_m whose chain is kept whole with chance s_m earns s_m tokens for one more pass of the lower
    layers. It is worth it while s_m exceeds that pass's cost times the tokens per cost reached so far. The chance
    of each draft is estimated by the confidence it was drafted with, from the drafts verified before.
    """

    def __init__(self, most: int, draft_cost: float, head_cost: float, verify_cost: float) -> None:
        """most: drafts a round; costs: lower layers of one token, one head, upper layers of a round (any one unit)."""
        self.most = most
        self._draft_cost, self._head_cost, self._verify_cost = draft_cost, head_cost, verify_cost
        self._kept = [_PRIOR * (index + 0.5) / _BINS for index in range(_BINS)]
        self._seen = [_PRIOR] * _BINS
        plain = draft_cost + verify_cost + head_cost
        self._tokens, self._cost = 8.0, 8.0 * plain
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
        return self._round % _PROBE_EVERY == 1 or hoped > (self._draft_cost + self._head_cost) * self._rate

    def spend(self, confidence: float) -> bool:
        """Whether a draft of this confidence is worth a pass of the lower layers."""
        survival = self._survival * self._chance(confidence)
        if survival <= self._draft_cost * self._rate:
            return False
        self._survival = survival
        return True

    def end(self, confidences: list[float], accepted: int, probes: int) -> None:
        """After verification: the first `accepted` drafts were kept, the one after them, if any, was not."""
        for index, confidence in enumerate(confidences[: accepted + 1]):
            place = _bin(confidence)
            self._seen[place] = self._seen[place] * _KEPT + 1.0
            self._kept[place] = self._kept[place] * _KEPT + float(index < accepted)
        passes = len(confidences) + 1
        cost = passes * self._draft_cost + probes * self._head_cost + self._verify_cost + self._head_cost
        self._tokens = self._tokens * _KEPT + accepted + 1
        self._cost = self._cost * _KEPT + cost

    @property
    def _rate(self) -> float:
        return self._tokens / self._cost

    def _chance(self, confidence: float) -> float:
        place = _bin(confidence)
        return self._kept[place] / self._seen[place]


def _bin(confidence: float) -> int:
    return min(_BINS - 1, int(confidence * _BINS))
