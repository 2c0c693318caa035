"""What the tests of the chassis share."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from assay.client.errors import error_from_rpc
from assay.errors import AssayError


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of an empty store in a directory."""
    return (tmp_path / "store").as_uri()


@pytest.fixture
def refused() -> Any:
    """`await refused(call)` is the AssayError that the call fails with; `.raw` is grpc's own."""

    async def error_of(call: Awaitable[Any]) -> AssayError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = error_from_rpc(caught.value)
        error.raw = caught.value  # type: ignore[attr-defined]
        return error

    return error_of
