"""Small networks kept in memory between steps: read-only, so that any number of steps may use one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from assay_tom_verifier.core.verifier.network import BeliefNetwork

MAX_KEPT = 16  # of a few megabytes each


class LoadedNetworks:
    """The networks that were used last, by digest."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, BeliefNetwork] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, load: Callable[[], BeliefNetwork]) -> BeliefNetwork:
        with self._lock:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
                return found
        made = load()
        with self._lock:
            self._kept[digest] = made
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return made
