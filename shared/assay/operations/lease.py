"""Who works on an operation: keeps other fronts from doing the same work.

Correctness never rests on it: two fronts that work on one operation get one result, of the steps that were
committed first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Coroutine
from typing import Any

from assay.errors import AssayError
from assay.operations.records import OperationRecords
from assay.operations.tracker import Tracker, from_json, to_json

LEASE_S = 10.0
RENEW_S = 3.0


class Lease:
    """`owner`: a front. The lease's record also tells other fronts how far the operation is."""

    def __init__(self, records: OperationRecords, operation: str, owner: str, tracker: Tracker) -> None:
        self._records, self._operation, self._owner, self._tracker = records, operation, owner, tracker
        self._version: str | None = None

    @property
    def held(self) -> bool:
        """As far as this front knows."""
        return self._version is not None

    async def acquire(self) -> bool:
        """False where another front holds it, or the operation has ended."""
        await _whole(self._acquire())
        return self.held

    async def keep(self) -> None:
        """Renews until another front holds the lease; then returns."""
        while self.held:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(AssayError):
                await _whole(self._renew())

    async def release(self) -> None:
        """Lets the next front go on at once."""
        with contextlib.suppress(AssayError):
            await self._write(self._version, 0.0)

    async def _acquire(self) -> None:
        held = await asyncio.to_thread(self._records.lease, self._operation)
        if held is not None and not is_free(held[1], self._owner):
            return
        # In this order: a front that ends an operation commits the result before it lets the lease go.
        if await asyncio.to_thread(self._records.result, self._operation) is not None:
            return
        if held is not None:
            self._tracker.resume(from_json(held[1].get("progress", {})))
        self._version = await self._write(held[0].version if held else None, LEASE_S)

    async def _renew(self) -> None:
        self._version = await self._write(self._version, LEASE_S) or await self._still_ours()

    async def _still_ours(self) -> str | None:
        """The version to go on from, where a renewal was stored but its answer lost."""
        held = await asyncio.to_thread(self._records.lease, self._operation)
        return held[0].version if held is not None and held[1]["owner"] == self._owner else None

    async def _write(self, expected: str | None, seconds: float) -> str | None:
        content = {
            "owner": self._owner,
            "expires_unix_s": time.time() + seconds,
            "progress": to_json(self._tracker.snapshot()),
            "renewal": uuid.uuid4().hex,  # versions are unique where contents are
        }
        return await asyncio.to_thread(self._records.write_lease, self._operation, content, expected)


async def _whole(write: Coroutine[Any, Any, None]) -> None:
    """Sees a write to its end even if cancelled: of one cut short nobody knows whether it was stored."""
    task = asyncio.ensure_future(write)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def is_free(content: Any, owner: str) -> bool:
    return bool(content["expires_unix_s"] < time.time() or content["owner"] == owner)
