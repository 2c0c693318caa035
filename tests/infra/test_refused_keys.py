"""What the runbook says of operations whose front shows keys that the store refuses: they wait for better ones."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import grpc.aio
import pytest
from conftest import MinioServer
from google.longrunning import operations_pb2
from minio import MinioAdmin
from minio.credentials import StaticProvider
from probe.operations import TOTAL_STEPS, computed, digest_of, expected_digest, get, metadata_of, start, wait, watch
from probe.serving import serving

from assay.client.errors import error_from_rpc
from assay.errors import Unauthenticated

USER, SECRET = "front", "the-keys-of-a-front"


@pytest.fixture
def admin(minio_server: MinioServer) -> MinioAdmin:
    root = StaticProvider(minio_server.access_key, minio_server.secret_key)
    made = MinioAdmin(endpoint=minio_server.address, credentials=root, secure=False)
    made.user_add(access_key=USER, secret_key=SECRET)
    made.attach_policy(policies=["readwrite"], user=USER)
    return made


async def end_of(channel: grpc.aio.Channel, operation: operations_pb2.Operation) -> None:
    for _ in range(600):
        if (await get(channel, operation)).done:
            return
        await asyncio.sleep(0.1)


async def test_an_operation_waits_where_its_front_s_keys_are_refused(
    minio_server: MinioServer, admin: MinioAdmin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", USER)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", SECRET)
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(tmp_path / "cache"))
    (ledger := tmp_path / "ledger").touch()
    monkeypatch.setenv("ASSAY_PROBE_LEDGER", str(ledger))
    store = minio_server.make_bucket(f"keys-{uuid.uuid4().hex[:8]}")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0.6")
        async for event in watch(channel, operation):
            if metadata_of(event.operation).progress.steps_done >= 2:
                break
        await asyncio.to_thread(admin.user_disable, access_key=USER)
        with pytest.raises(grpc.aio.AioRpcError) as refused:  # once the front has met the refusal, and let it go
            await end_of(channel, operation)
        assert isinstance(error_from_rpc(refused.value), Unauthenticated)
        await asyncio.to_thread(admin.user_enable, access_key=USER)
        finished = await wait(channel, operation, 60)
        assert digest_of(finished) == expected_digest()
    assert TOTAL_STEPS <= len(computed(ledger)) <= TOTAL_STEPS + 4  # again those that could not be committed
