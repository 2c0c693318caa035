"""Verifiers and generators kept in memory between steps: read-only, so that any number of steps may use one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import nn

MAX_BYTES = 2**30  # of weights; the network used last stays whatever it takes
NetworkT = TypeVar("NetworkT")


class LoadedNetworks(Generic[NetworkT]):
    """The networks that were used last, by digest. module_of: where a network's weights are."""

    def __init__(self, module_of: Callable[[NetworkT], nn.Module], max_bytes: int = MAX_BYTES) -> None:
        self._module_of, self._max_bytes = module_of, max_bytes
        self._kept: OrderedDict[str, NetworkT] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, load: Callable[[], NetworkT]) -> NetworkT:
        with self._lock:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
                return found
        made = load()
        with self._lock:
            self._kept[digest] = made
            while len(self._kept) > 1 and sum(map(self._bytes, self._kept.values())) > self._max_bytes:
                self._kept.popitem(last=False)
        return made

    def _bytes(self, network: NetworkT) -> int:
        return sum(each.numel() * each.element_size() for each in self._module_of(network).parameters())
