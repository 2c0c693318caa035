"""The call a worker makes, wherever it runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from assay.compute.compute import ItemT, ResultT


def call(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    """`function(item)`. An exception that could not travel back becomes a RuntimeError that names it."""
    try:
        return function(item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # Unpickled where the map runs, it would look like a worker that died.
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
