"""Settings from the environment; `.env`-style files are the deployment's business."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from assay.errors import InvalidInput

if TYPE_CHECKING:
    from assay.artifacts.store import ArtifactStore


@dataclass(frozen=True)
class Config:
    """What client, front and engine need to know of their surroundings.

    store: `file:///dir` or `s3://bucket/prefix?endpoint=URL` (ASSAY_STORE; a directory of the user's by default).
    cache_dir, cache_bytes: the read-through cache (ASSAY_CACHE_DIR, ASSAY_CACHE_BYTES).
    otlp_endpoint: where traces go, `http://host:4317` (OTEL_EXPORTER_OTLP_ENDPOINT); empty for nowhere.
    """

    store: str
    cache_dir: Path | None = None
    cache_bytes: int = 20 * 2**30
    otlp_endpoint: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """Raises InvalidInput naming the variable."""
        default = Path(platformdirs.user_data_dir("assay")) / "store"
        cache_dir = environment.get("ASSAY_CACHE_DIR")
        try:
            cache_bytes = int(environment.get("ASSAY_CACHE_BYTES", 20 * 2**30))
        except ValueError:
            raise InvalidInput("ASSAY_CACHE_BYTES", "is no whole number of bytes; write e.g. 20000000000") from None
        return cls(
            store=environment.get("ASSAY_STORE") or default.as_uri(),
            cache_dir=Path(cache_dir) if cache_dir else None,
            cache_bytes=cache_bytes,
            otlp_endpoint=environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        )

    def open_artifacts(self) -> ArtifactStore:
        """The artifact store; asks it nothing yet."""
        from assay.artifacts.objects import open_object_store
        from assay.artifacts.store import ArtifactStore

        return ArtifactStore(open_object_store(self.store), cache_dir=self.cache_dir, cache_bytes=self.cache_bytes)


def endpoint_of(service: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where `service` is served: ASSAY_<SERVICE>_ENDPOINT, else ASSAY_ENDPOINT, else None (embedded)."""
    return environment.get(f"ASSAY_{service.upper()}_ENDPOINT") or environment.get("ASSAY_ENDPOINT") or None
