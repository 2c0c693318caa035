"""The object stores that every contract test runs against: a directory and a real MinIO."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.artifacts.objects import ObjectStore, open_object_store
from assay.artifacts.store import ArtifactStore


@pytest.fixture(params=["directory", pytest.param("minio", marks=pytest.mark.minio)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store of each kind, with its keys in the environment."""
    if request.param == "directory":
        return (tmp_path / "store").as_uri()
    server = request.getfixturevalue("minio_server")
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", server.secret_key)
    url: str = server.make_bucket(f"test-{uuid.uuid4().hex[:12]}")
    return url.replace("?", "/some/prefix?")


@pytest.fixture
def objects(store_url: str) -> ObjectStore:
    return open_object_store(store_url)


@pytest.fixture
def artifacts(objects: ObjectStore, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(objects, cache_dir=tmp_path / "cache")


@pytest.fixture
def overwrite_blob(store_url: str, objects: ObjectStore) -> Callable[[str, bytes], None]:
    """`overwrite_blob(sha256, data)` does what a failing disk does: other bytes under the same name."""

    def overwrite(sha256: str, data: bytes) -> None:
        key = f"blobs/{sha256}"
        store: Any = objects
        if store_url.startswith("file:"):
            file = store.file(key)
            file.chmod(0o644)
            file.write_bytes(data)
        else:
            info = objects.head(key)
            assert info is not None
            assert objects.compare_and_swap(key, data, info.version) is not None

    return overwrite
