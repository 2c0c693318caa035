"""What can be told of a model without loading it: from its manifest, its config and the headers of its weights."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from assay.artifacts.manifest import Artifact
from assay.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from assay.client.connection import Connection
from assay.client.errors import error_from_rpc
from assay.errors import AssayError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MAX_CONFIG_BYTES = 4 * 2**20
MAX_HEADER_BYTES = 64 * 2**20
READ_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class ModelFacts:
    """name: what the person called it. family: model_type of the config. architecture: its class.

    parameters: numbers stored as weights (a tied matrix counts once, packed numbers as they are packed); by dtype in
    `dtypes`. None and empty where the checkpoint does not tell.
    """

    name: str
    digest: str
    size_bytes: int
    family: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)


def model_facts(connection: Connection, artifact: Artifact, name: str) -> ModelFacts:
    """Never fails: what cannot be read stays untold."""
    config: Mapping[str, Any] = {}
    dtypes: Counter[str] = Counter()
    with suppress(AssayError, ValueError, TypeError):
        config = _json(connection, artifact, CONFIG)
    with suppress(AssayError, ValueError, TypeError, KeyError, AttributeError, struct.error):
        dtypes = sum((_header(connection, artifact, file) for file in _weight_files(connection, artifact)), dtypes)
    classes = config.get("architectures")
    family = config.get("model_type")
    return ModelFacts(
        name=name,
        digest=artifact.digest,
        size_bytes=artifact.manifest.size_bytes,
        family=family if isinstance(family, str) else None,
        architecture=str(classes[0]) if isinstance(classes, list) and classes else None,
        parameters=sum(dtypes.values()) or None,
        dtypes=dict(sorted(dtypes.items())),
    )


def _weight_files(connection: Connection, artifact: Artifact) -> Sequence[str]:
    """Those that a loader would take: a directory may hold the same weights twice."""
    held = {file.path for file in artifact.manifest.files}
    if WEIGHTS in held:
        return [WEIGHTS]
    if INDEX in held:
        return sorted(set(_json(connection, artifact, INDEX)["weight_map"].values()) & held)
    return sorted(path for path in held if path.endswith(".safetensors"))


def _json(connection: Connection, artifact: Artifact, path: str) -> Mapping[str, Any]:
    limit = MAX_CONFIG_BYTES if path == CONFIG else MAX_HEADER_BYTES
    if artifact.manifest.file(path).size_bytes > limit:
        raise ValueError("too large to be what it says")
    document = json.loads(_range(connection, artifact, path, 0, limit))
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _header(connection: Connection, artifact: Artifact, path: str) -> Counter[str]:
    """Numbers by dtype, from the header of a safetensors file: its length in 8 bytes, then JSON."""
    (length,) = struct.unpack("<Q", _range(connection, artifact, path, 0, 8))
    if length > MAX_HEADER_BYTES:
        raise ValueError("no safetensors header")
    header = json.loads(_range(connection, artifact, path, 8, length))
    header.pop("__metadata__", None)
    found: Counter[str] = Counter()
    for tensor in header.values():
        found[str(tensor["dtype"])] += math.prod(tensor["shape"])
    return found


def _range(connection: Connection, artifact: Artifact, path: str, offset: int, length: int) -> bytes:
    request = artifacts_pb2.ReadFileRequest(
        reference=artifact.digest, path=path, offset_bytes=offset, length_bytes=length
    )
    stub = artifacts_pb2_grpc.ArtifactServiceStub(connection.channel)
    try:
        return b"".join(part.data for part in stub.ReadFile(request, timeout=READ_TIMEOUT_S))
    except grpc.RpcError as error:
        raise error_from_rpc(error) from None
