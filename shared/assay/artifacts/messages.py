"""Between manifests and their protobuf messages."""

from __future__ import annotations

from google.protobuf import json_format

from assay.artifacts.manifest import Artifact, File, Manifest
from assay.artifacts.v1 import artifacts_pb2
from assay.errors import InvalidInput


def manifest_to_proto(manifest: Manifest) -> artifacts_pb2.Manifest:
    message = artifacts_pb2.Manifest(kind=manifest.kind, inputs=manifest.inputs, versions=manifest.versions)
    message.files.extend(
        artifacts_pb2.File(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in manifest.files
    )
    json_format.ParseDict(dict(manifest.parameters), message.parameters)
    return message


def manifest_from_proto(message: artifacts_pb2.Manifest) -> Manifest:
    """Raises InvalidInput for whatever does not belong into an artifact."""
    try:
        parameters = json_format.MessageToDict(message.parameters)
    except ValueError:
        raise InvalidInput(
            "manifest.parameters", "holds a number that is not finite; leave it out or write it as a string"
        ) from None
    return Manifest(
        kind=message.kind,
        files=tuple(File(file.path, file.size_bytes, file.sha256) for file in message.files),
        inputs=tuple(message.inputs),
        parameters=parameters,
        versions=dict(message.versions),
    )


def artifact_to_proto(artifact: Artifact) -> artifacts_pb2.Artifact:
    return artifacts_pb2.Artifact(
        digest=artifact.digest, manifest=manifest_to_proto(artifact.manifest), size_bytes=artifact.size_bytes
    )


def artifact_from_proto(message: artifacts_pb2.Artifact) -> Artifact:
    return Artifact(message.digest, manifest_from_proto(message.manifest))
