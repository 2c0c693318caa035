"""Making a model with transformers, which is neither quiet nor safe to do in two threads at once.

While it loads, transformers changes settings of the whole process (default dtype and device, initialisation, which
weights are tied): a second load beside it finds weights missing that are there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def transformers_loading() -> Iterator[None]:
    """To be held while a model is made or saved: one thread at a time, without transformers' own bars and reports."""
    with _ONE_AT_A_TIME:
        shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if shown:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
