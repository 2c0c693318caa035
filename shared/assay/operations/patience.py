"""Waiting for a store or an engine that is away for a while."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TypeVar

from assay.errors import Unavailable

RETRY_FIRST_S, RETRY_MOST_S, RETRIES = 0.5, 15.0, 60  # about a quarter of an hour

ResultT = TypeVar("ResultT")

log = logging.getLogger(__name__)


async def patiently(read: Callable[[], ResultT]) -> ResultT:
    """What `read` returns, called in a thread and again while the object store is away; Unavailable at last."""
    for pause_s in pauses():
        try:
            return await asyncio.to_thread(read)
        except Unavailable as error:
            log.warning("object store: %s; again in %.1f s", error.message, pause_s)
            await asyncio.sleep(pause_s)
    raise Unavailable("the object store stayed away; start the operation again when it is back")


def pauses() -> list[float]:
    """Growing pauses with jitter, so that many runs do not come back at the same moment."""
    return [min(RETRY_MOST_S, RETRY_FIRST_S * 2**attempt) * random.uniform(0.7, 1.3) for attempt in range(RETRIES)]
